"""Verdicts survive the way to Parquet and back, and others can read them."""

import math
from dataclasses import replace
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosteer_core.errors import UserMistake
from autosteer_core.values import Action, Annotation, Flaw, Label, Reading, Verdict
from infra.verdict_files import verdicts_from_parquet, verdicts_to_parquet

PROVENANCE = {
    "bundle_id": "b1",
    "model_fingerprint": "f1",
    "run_id": "r1",
    "part_id": "p1",
}
VERDICT = Verdict("a", 0, Action.ANSWER, 0.125, "hello", compared={"random_layer": "refuse"})

texts = st.text(st.characters(codec="utf-8"), max_size=20)
counts = st.integers(0, 2**31 - 1)
maybe = st.none() | texts
verdicts = st.builds(
    Verdict,
    item_id=texts,
    row=st.integers(0, 2**63 - 1),
    action=st.sampled_from(Action),
    risk=st.floats(0, 1) | st.just(math.nan),
    answer=maybe,
    flaw=st.none() | st.builds(Flaw, texts, texts),
    gate_open=st.none() | st.booleans(),
    gate_evaluations=counts,
    steered_tokens=counts,
    borderline=st.booleans(),
    finish_reason=maybe,
    annotation=st.builds(Annotation, st.none() | st.sampled_from(Label), maybe, maybe, maybe),
    compared=st.dictionaries(texts, texts, max_size=3),
    beside=st.dictionaries(texts, st.builds(Reading, st.floats(0, 1), st.booleans()), max_size=2),
    logprobs=st.none() | st.lists(st.floats(max_value=0, width=32, allow_nan=False), max_size=4).map(tuple),
)


@given(st.lists(verdicts, max_size=20))
def test_verdicts_come_back_as_they_were(written: list[Verdict]) -> None:
    found = verdicts_from_parquet(verdicts_to_parquet(written, PROVENANCE))
    assert [comparable(verdict) for verdict in found] == [comparable(verdict) for verdict in written]


def comparable(verdict: Verdict) -> Verdict:
    """NaN differs from itself; -1 does not and is never a risk."""
    return replace(verdict, risk=-1.0) if math.isnan(verdict.risk) else verdict


def test_every_row_tells_what_made_it_to_anyone_with_pyarrow() -> None:
    data = verdicts_to_parquet([VERDICT, replace(VERDICT, item_id="b", row=1)], PROVENANCE)
    rows = pq.read_table(BytesIO(data)).to_pylist()
    assert [row["item_id"] for row in rows] == ["a", "b"]
    assert all(row.items() >= PROVENANCE.items() for row in rows)
    assert rows[0]["compared"] == [("random_layer", "refuse")]


def test_a_risk_that_was_not_measured_is_null_and_not_nan() -> None:
    failed = Verdict("a", 0, Action.ERROR, math.nan, flaw=Flaw("E_IMAGE_MISSING", "no bytes", "image"))
    (row,) = pq.read_table(BytesIO(verdicts_to_parquet([failed], PROVENANCE))).to_pylist()
    assert (row["risk"], row["error_code"], row["error_message"]) == (None, "E_IMAGE_MISSING", "no bytes")


def test_log_probabilities_are_a_column_of_lists_that_is_null_where_nobody_asked() -> None:
    asked = replace(VERDICT, logprobs=(-0.5, -1.25))
    table = pq.read_table(BytesIO(verdicts_to_parquet([VERDICT, asked], PROVENANCE)))
    assert table.schema.field("logprobs").type.value_type == pa.float32()
    assert table.column("logprobs").to_pylist() == [None, [-0.5, -1.25]]


def test_the_same_verdicts_make_the_same_bytes() -> None:
    first = replace(VERDICT, compared={"a": "1", "b": "2"})
    second = replace(VERDICT, compared={"b": "2", "a": "1"})
    assert verdicts_to_parquet([first], PROVENANCE) == verdicts_to_parquet([second], PROVENANCE)


def test_unknown_provenance_is_refused() -> None:
    with pytest.raises(ValueError, match="bundle"):
        verdicts_to_parquet([VERDICT], {"bundle": "b1"})


def test_a_flipped_bit_in_any_page_is_noticed() -> None:
    many = [replace(VERDICT, item_id=f"item {row}", row=row) for row in range(50)]
    good = verdicts_to_parquet(many, PROVENANCE)
    silent, footer = 0, int.from_bytes(good[-8:-4], "little")
    for position in range(4, len(good) - footer - 8, 37):
        bad = bytearray(good)
        bad[position] ^= 16
        silent += is_read_as_other_verdicts(bytes(bad), many)
    assert silent == 0


def is_read_as_other_verdicts(data: bytes, expected: list[Verdict]) -> bool:
    try:
        return verdicts_from_parquet(data) != expected
    except (UserMistake, ValueError):
        return False


@pytest.mark.parametrize("data", [b"", b"PAR1 and no more", b"<html>"])
def test_bytes_that_are_no_verdicts_are_refused(data: bytes) -> None:
    with pytest.raises(UserMistake, match="a file of verdicts (is|looks like)"):
        verdicts_from_parquet(data)


def test_a_table_of_something_else_is_refused() -> None:
    sink = BytesIO()
    pq.write_table(pa.table({"x": [1]}), sink)
    with pytest.raises(UserMistake, match="no file of verdicts: it has the columns x"):
        verdicts_from_parquet(sink.getvalue())


def test_a_damaged_column_name_is_told_in_a_sentence() -> None:
    data = verdicts_to_parquet([VERDICT], PROVENANCE)
    with pytest.raises(UserMistake, match="truncated or damaged"):
        verdicts_from_parquet(data.replace(b"item_id", b"item_\xf5d"))
