"""When labels hold: a reviewer's word, or two sources that agree; and how statements are kept."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosteer_core.errors import UserMistake
from autosteer_core.label_book import LabellerKind, Statement, book, latest, resolved
from autosteer_core.values import Label
from infra.label_files import statements_from_parquet, statements_to_parquet

ITEM = b"i" * 32
HARMFUL, BENIGN = Label.HARMFUL, Label.BENIGN
REVIEWER, IMPORT, JUDGE = LabellerKind.REVIEWER, LabellerKind.IMPORT, LabellerKind.JUDGE

statements = st.lists(
    st.builds(
        Statement,
        content=st.sampled_from([b"a" * 32, b"b" * 32]),
        item_id=st.sampled_from(["a", "b"]),
        label=st.sampled_from(Label),
        labeller=st.sampled_from(["ana", "Ana ", "ben", "vendor"]),
        kind=st.sampled_from(LabellerKind),
        at=st.sampled_from(["2026-01-01T00:00:00.000+00:00", "2026-01-02T00:00:00.000+00:00"]),
        run_id=st.sampled_from([None, "r"]),
    ),
    max_size=8,
)


def says(labeller: str, label: Label, kind: LabellerKind = IMPORT, day: int = 1) -> Statement:
    return Statement(ITEM, "a", label, labeller, kind, f"2026-01-{day:02d}T00:00:00.000+00:00")


def holds(*said: Statement) -> Label | None:
    found = resolved(said).get(ITEM)
    return found.label if found else None


def test_a_reviewer_makes_a_label_and_one_other_source_does_not() -> None:
    assert holds(says("ana", HARMFUL, REVIEWER)) is HARMFUL
    for kind in (IMPORT, JUDGE):
        assert holds(says("vendor", HARMFUL, kind)) is None
        assert ITEM in book([says("vendor", HARMFUL, kind)]).waiting


def test_two_sources_that_agree_make_a_label_and_two_that_do_not_are_in_conflict() -> None:
    assert holds(says("vendor", HARMFUL), says("guard", HARMFUL, JUDGE)) is HARMFUL
    parted = [says("vendor", HARMFUL), says("guard", BENIGN, JUDGE), says("other", HARMFUL)]
    assert holds(*parted) is None
    assert {each.labeller for each in book(parted).conflicts[ITEM]} == {"vendor", "guard", "other"}


def test_a_source_cannot_agree_with_itself_under_a_name_that_looks_the_same() -> None:
    assert holds(says("Vendor", HARMFUL), says(" vendor", HARMFUL, day=2), says("VENDOR", HARMFUL, JUDGE, 3)) is None


def test_a_reviewer_overrules_sources_but_not_another_reviewer() -> None:
    sources = [says("vendor", HARMFUL), says("guard", HARMFUL, JUDGE)]

    assert holds(*sources, says("ana", BENIGN, REVIEWER)) is BENIGN
    assert holds(*sources, says("ana", BENIGN, REVIEWER), says("ben", HARMFUL, REVIEWER)) is None


def test_the_last_word_of_a_labeller_counts() -> None:
    assert holds(says("ana", HARMFUL, REVIEWER, 1), says("ana", BENIGN, REVIEWER, 2)) is BENIGN
    assert holds(says("ana", BENIGN, REVIEWER, 2), says("ana", HARMFUL, REVIEWER, 1)) is BENIGN


def test_a_label_tells_its_weakest_source() -> None:
    assert resolved([says("vendor", HARMFUL), says("guard", HARMFUL, JUDGE)])[ITEM].kind is JUDGE
    assert resolved([says("vendor", HARMFUL), says("ana", HARMFUL, REVIEWER)])[ITEM].by == ("ana",)


@given(statements, st.randoms())
def test_order_and_repetition_change_nothing(said: list[Statement], random: object) -> None:
    again = [*said, *said]
    random.shuffle(again)  # type: ignore[attr-defined]

    assert book(again) == book(said)


@given(statements)
def test_every_item_has_a_label_a_conflict_or_one_source(said: list[Statement]) -> None:
    found = book(said)

    together = [*found.resolved, *found.conflicts, *found.waiting]
    assert sorted(together) == sorted({each.content for each in said})
    for content, label in found.resolved.items():
        heard = [each for each in latest(said) if each.content == content]
        assert len(label.by) > 1 or any(each.kind is REVIEWER for each in heard)
        assert all(each.label is label.label for each in heard if each.kind is label.kind)


@given(statements)
@settings(max_examples=40)
def test_equal_statements_are_equal_bytes_and_come_back(said: list[Statement]) -> None:
    data = statements_to_parquet(said)

    assert statements_to_parquet(reversed(said)) == data
    assert sorted(map(repr, statements_from_parquet(data))) == sorted(map(repr, said))


def test_a_flipped_bit_of_a_file_of_labels_is_noticed_or_changes_nothing() -> None:
    said = [replace(says(f"source-{number}", HARMFUL), item_id=f"item-{number}") for number in range(40)]
    good = statements_to_parquet(said)
    wanted, noticed = statements_from_parquet(good), 0
    for position in range(4, len(good), 23):
        bad = bytearray(good)
        bad[position] ^= 16
        try:
            found = statements_from_parquet(bytes(bad))
        except (UserMistake, ValueError):
            noticed += 1
        else:
            assert len(found) == len(wanted)
    assert noticed > 50


def test_another_parquet_file_is_no_file_of_labels() -> None:
    from infra.verdict_files import verdicts_to_parquet

    with pytest.raises(UserMistake, match="no file of labels"):
        statements_from_parquet(verdicts_to_parquet([], {}))
