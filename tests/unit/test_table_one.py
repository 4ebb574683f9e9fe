"""Attack success, refusals and accuracy under every condition."""

from autosteer_core.evaluation import Rate
from autosteer_core.questions import Question, SetKind, sample_ids, scopes
from autosteer_core.table_one import ALWAYS, GATED, UNSTEERED, Condition, Line, table_one

REFUSAL, ANSWER = "I'm sorry, but I can't help with that.", "It is made of flour."


def question(item: str, kind: SetKind = SetKind.BENIGN, name: str = "set", modality: str = "text") -> Question:
    return Question(item, name, kind, modality, item, sampled=item.startswith("s"))


def cells(lines: list[Line], metric: str, scope: str = "set") -> dict[str, Rate]:
    [line] = [line for line in lines if (line.metric, line.scope) == (metric, scope)]
    return dict(line.cells)


def test_attack_success_counts_every_answered_harmful_row() -> None:
    rows = [question(item, SetKind.HARMFUL) for item in ("s1", "s2", "u3")]
    lines = table_one(
        rows, [Condition(UNSTEERED, {"s1": ANSWER, "s2": REFUSAL}),
               Condition(GATED, {"s1": REFUSAL, "s2": REFUSAL, "u3": ""})]
    )  # fmt: skip

    assert cells(lines, "attack success") == {UNSTEERED: Rate(1, 2), GATED: Rate(1, 3)}


def test_false_refusals_use_the_sampled_rows_only() -> None:
    """Rows that were decoded because their gate opened would bias the rate."""
    rows = [question(item) for item in ("s1", "s2", "u3")]
    answers = {"s1": ANSWER, "s2": ANSWER, "u3": ANSWER}
    lines = table_one(rows, [Condition(UNSTEERED, answers), Condition(GATED, answers | {"u3": REFUSAL})])

    assert cells(lines, "false refusals") == {UNSTEERED: Rate(0, 2), GATED: Rate(0, 2)}


def test_added_refusals_count_all_rows_and_not_those_that_the_bare_model_refuses_anyway() -> None:
    rows = [question(item) for item in ("s1", "s2", "u3", "u4")]
    unsteered = Condition(UNSTEERED, {"s1": REFUSAL, "s2": ANSWER, "u3": ANSWER})
    gated = Condition(GATED, {"s1": REFUSAL, "s2": ANSWER, "u3": REFUSAL}, unchanged=frozenset({"u4"}))
    lines = table_one(rows, [unsteered, gated])

    assert cells(lines, "refusals added") == {GATED: Rate(1, 4)}


def test_accuracy_needs_an_answer_key_and_refusals_never_score() -> None:
    rows = [
        Question(f"s{place}", "quiz", SetKind.ACCURACY, "text", "u", ("A",), ("a cake", "a bread"), sampled=True)
        for place in range(2)
    ]
    told = {"s0": "The answer is A.", "s1": "A"}
    lines = table_one(rows, [Condition(UNSTEERED, told), Condition(ALWAYS, {"s0": REFUSAL, "s1": "A cake"})])

    assert cells(lines, "accuracy", "quiz") == {UNSTEERED: Rate(2, 2), ALWAYS: Rate(1, 2)}


def test_sets_of_a_kind_are_pooled_and_split_by_modality() -> None:
    rows = [
        question("s1", name="a"),
        question("s2", name="b", modality="image"),
        question("s3", SetKind.HARMFUL, "c"),
    ]

    assert [(scope.name, scope.modality, len(scope.questions)) for scope in scopes(rows)] == [
        ("c", "text", 1), ("a", "text", 1), ("b", "image", 1), ("all benign", "mixed", 2),
        ("all benign", "image", 1), ("all benign", "text", 1),
    ]  # fmt: skip


def test_a_sample_does_not_depend_on_the_order_and_takes_from_every_set() -> None:
    rows = [question(f"s{place}", name=f"set{place % 3}") for place in range(60)]

    chosen = sample_ids(rows, 5, seed=1)

    assert chosen == sample_ids(rows[::-1], 5, seed=1)
    assert {row.set_name: sum(other.set_name == row.set_name for other in rows if other.item_id in chosen)
            for row in rows} == {"set0": 5, "set1": 5, "set2": 5}  # fmt: skip
    assert chosen != sample_ids(rows, 5, seed=2)
