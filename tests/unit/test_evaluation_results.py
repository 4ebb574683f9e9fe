"""From verdicts to conditions, detectors and the page."""

import json
from dataclasses import replace

import pytest

from autosteer_core.bundle import Bundle
from autosteer_core.evaluation import Rate
from autosteer_core.questions import Question, SetKind
from autosteer_core.second_look import SecondLook
from autosteer_core.table_one import added_refusals
from autosteer_core.values import Action, Verdict
from pipelines.evaluation_conditions import GATE_ALONE, conditions_of, detectors_of, sweep_of
from pipelines.evaluation_plan import OURS, Seen, exchange_id, same_edit, slug
from pipelines.evaluation_report import evaluation_html
from pipelines.evaluation_results import Evaluation, tables_of
from tests.tiny_bundle import tiny_bundle
from tests.tiny_model import tiny_llava_onevision

REFUSAL, ANSWER = "I'm sorry, but I can't help with that.", "It is made of flour."
ATTACK = '"><script>alert(1)</script>{{7*7}}'


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle(tiny_llava_onevision())


def question(item: str, kind: SetKind, sampled: bool = False) -> Question:
    return Question(item, f"{kind} set", kind, "text", item, sampled=sampled)


QUESTIONS = [
    question("h1", SetKind.HARMFUL, sampled=True), question("h2", SetKind.HARMFUL), question("h3", SetKind.HARMFUL),
    question("b1", SetKind.BENIGN, sampled=True), question("b2", SetKind.BENIGN), question("b3", SetKind.BENIGN),
]  # fmt: skip


def audited(item: str, is_open: bool) -> Verdict:
    return Verdict(item, 0, Action.FLAG, 0.9 if is_open else 0.1, threshold=0.5, gate_open=is_open)


def answered(item: str, is_open: bool, late: bool = False) -> Verdict:
    refused = is_open or late
    return Verdict(
        item, 0, Action.REFUSE, 0.9, REFUSAL if refused else ANSWER, gate_open=refused,
        opened_after=4 if late else None, compared={"unsteered": ANSWER, "always": REFUSAL},
    )  # fmt: skip


def seen(late: bool = False) -> Seen:
    """h1, h2 are caught, h3 is missed; b1 passes (or is stopped late), b2 is caught, b3 passes and is not decoded."""
    gates = {"h1": True, "h2": True, "h3": False, "b1": False, "b2": True, "b3": False}
    return Seen(
        risks={OURS: {item: audited(item, is_open) for item, is_open in gates.items()},
               "random-layer": {item: audited(item, item == "b1") for item in gates}},
        paired={item: answered(item, gates[item], late and item == "b1") for item in ("h1", "b1", "b2")},
        attacked={item: answered(item, gates[item]) for item in ("h2", "h3")},
    )  # fmt: skip


def test_rows_behind_a_closed_gate_are_known_without_decoding(bundle: Bundle) -> None:
    conditions = {condition.name: condition for condition in conditions_of(seen(), QUESTIONS, bundle)}
    benign = [row for row in QUESTIONS if row.kind is SetKind.BENIGN]

    assert conditions["gated"].unchanged == {"b3"}
    assert added_refusals(conditions["gated"], conditions["no steering"], benign) == Rate(1, 3)
    assert added_refusals(conditions["canned"], conditions["no steering"], benign) == Rate(1, 3)


def test_rows_that_were_decoded_for_their_gate_do_not_enter_the_always_column(bundle: Bundle) -> None:
    conditions = {condition.name: condition for condition in conditions_of(seen(), QUESTIONS, bundle)}

    assert set(conditions["always steered"].answers) == {"h1", "b1"}
    assert set(conditions["gated"].answers) == {"h1", "h2", "h3", "b1", "b2"}


def test_a_control_with_the_same_head_is_composed_of_known_answers(bundle: Bundle) -> None:
    conditions = {condition.name: condition for condition in conditions_of(seen(), QUESTIONS, bundle)}

    assert conditions["random-layer"].answers == {"h1": ANSWER, "b1": REFUSAL}


def test_with_a_second_look_undecoded_rows_are_not_claimed_to_be_unchanged(bundle: Bundle) -> None:
    looking = replace(bundle, second_look=SecondLook(bundle.probe, 0.5, 4))
    conditions = {condition.name: condition for condition in conditions_of(seen(late=True), QUESTIONS, looking)}
    benign = [row for row in QUESTIONS if row.kind is SetKind.BENIGN]

    assert added_refusals(conditions["gated"], conditions["no steering"], benign) == Rate(1, 1)
    assert added_refusals(conditions[GATE_ALONE], conditions["no steering"], benign) == Rate(1, 3)


def test_rows_without_a_risk_have_no_gate(bundle: Bundle) -> None:
    broken = seen()
    verdicts = dict(broken.risks[OURS]) | {"b3": Verdict("b3", 0, Action.ERROR, float("nan"))}
    [ours, _] = detectors_of(replace(broken, risks=broken.risks | {OURS: verdicts}))

    assert "b3" not in ours.risk and "b3" not in ours.opened


def test_the_same_edit_is_known_by_its_weights_whatever_the_probe(bundle: Bundle) -> None:
    other = tiny_bundle(tiny_llava_onevision(), threshold=0.2, layer=3)

    assert same_edit(bundle, other)
    assert not same_edit(bundle, replace(other, head=replace(other.head, epsilon=0.2)))
    assert not same_edit(bundle, replace(other, head=replace(other.head, up=other.head.up + 1)))
    assert not same_edit(bundle, replace(other, gate_action="canned"))


def evaluation(bundle: Bundle, suite: str) -> Evaluation:
    found = seen()
    conditions, detectors = conditions_of(found, QUESTIONS, bundle), detectors_of(found)
    swept = {0.2: {item: replace(verdict, answer=REFUSAL) for item, verdict in found.paired.items()}}
    return Evaluation(
        suite=suite, bundle=bundle, bundles={OURS: "b"}, questions=QUESTIONS, unreadable=0, leakage=None,
        imported=None, guarantee=[], sweep=sweep_of(replace(found, swept=swept), QUESTIONS, bundle),
        detectors=detectors, **tables_of(QUESTIONS, conditions, detectors, {}),
    )  # fmt: skip


def test_the_page_escapes_everything_and_allows_no_script(bundle: Bundle) -> None:
    page = evaluation_html(evaluation(bundle, ATTACK)).decode()

    assert "<script" not in page
    assert "&lt;script&gt;" in page and "{{7*7}}" in page
    assert "default-src 'none'" in page


def test_the_same_rows_give_the_same_page_with_layers_roc_calibration_and_strengths(bundle: Bundle) -> None:
    first, second = (evaluation_html(evaluation(bundle, "suite")) for _ in range(2))

    assert first == second
    assert first.count(b"data:image/svg+xml;base64,") == 4


def test_json_has_no_nan_and_names_every_column(bundle: Bundle) -> None:
    found = evaluation(bundle, "suite").as_json()

    json.dumps(found, allow_nan=False)
    [attacks] = [line for line in found["table"] if line["metric"] == "attack success"]
    assert list(attacks["cells"]) == ["no steering", "always steered", "gated", "canned", "random-layer"]
    assert [point["epsilon"] for point in found["epsilon_sweep"]] == [0.0, 0.1, 0.2]


def test_names_become_folders_of_their_own() -> None:
    assert slug("random layer") != slug("random-layer") == "random-layer"
    assert slug("../../etc") == slug("../../etc") and "/" not in slug("../../etc") and "." not in slug("../../etc")
    assert exchange_id("a", "bc") != exchange_id("ab", "c")
