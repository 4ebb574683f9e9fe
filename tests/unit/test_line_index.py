"""The index of a file of lines: small, and right about where rows are."""

from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st

from infra.json_lines import lines_of
from infra.line_index import EVERY, LineIndex


def index_of(lines: list[bytes]) -> LineIndex:
    return LineIndex.of(lines_of(BytesIO(b"\n".join(lines)), "a file"))


@given(st.lists(st.sampled_from([b"", b"{}", b'{"id": 1}']), max_size=700), st.data())
def test_reading_from_the_noted_place_leads_to_the_row(lines: list[bytes], data: st.DataObject) -> None:
    index, file = index_of(lines), BytesIO(b"\n".join(lines))
    rows = [line for line in lines if line]
    assert index.rows == len(rows)
    assert sum(stretch.rows for stretch in index.stretches()) == len(rows)
    if rows:
        row = data.draw(st.integers(0, len(rows) - 1))
        offset, number, before = index.before(row)
        assert 0 <= row - before < EVERY
        file.seek(offset)
        found = list(lines_of(file, "a file", number))[row - before]
        assert found.data.rstrip(b"\n") == rows[row]
        assert lines[found.number - 1] == rows[row]


def test_a_thousand_rows_take_four_entries() -> None:
    index = index_of([b"{}"] * 1_000)
    assert [len(kept) for kept in (index.offsets, index.numbers, index.costs)] == [4, 4, 4]


def test_long_lines_cost_more_and_are_told_from_pictures() -> None:
    plain, text, picture = b"x" * 100, b"x" * 12_288, b"x" * (4 * 2**16)  # base64 of three times 64 KiB
    costs = [next(iter(index_of([line]).stretches())).cost for line in (plain, text, picture)]
    assert costs == [1, 3, 3]
