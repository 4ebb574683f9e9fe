"""Tables of labels from outside: what they may be, and what is told of a row that cannot be read."""

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autosteer_core.errors import UserMistake
from autosteer_core.values import Item, Label, Part, PartId
from infra import label_tables
from infra.label_tables import opened
from infra.spreadsheet_csv import csv_header, csv_row

HASH = bytes(range(32))


def read(path: Path) -> list[Item]:
    table = opened(str(path))
    ((name, rows, _),) = table.files()
    return list(table.items(Part(PartId("labels"), name, 0, rows)))


def parquet(folder: Path, **columns: Any) -> Path:
    path = folder / "labels.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def text(folder: Path, content: str | bytes) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def said(items: list[Item]) -> list[tuple[str, str, Label | None]]:
    assert not [item.flaw for item in items if item.flaw]
    return [(item.item_id, item.text, item.annotation.label) for item in items]


def codes(path: Path) -> list[tuple[int, str]]:
    return [(item.row, item.flaw.code) for item in read(path) if item.flaw]


def test_parquet_with_ids_or_hashes_is_read(tmp_path: Path) -> None:
    words = ["harmful", "safe", None]
    assert said(read(parquet(tmp_path, item_id=["a", "b", "c"], label=words))) == [
        ("a", "", Label.HARMFUL), ("b", "", Label.BENIGN), ("c", "", None),
    ]  # fmt: skip
    for content in (pa.array([HASH] * 3), pa.array([HASH] * 3, pa.binary(32)), [HASH.hex().upper()] * 3):
        assert said(read(parquet(tmp_path, content=content, label=words)))[0] == ("", HASH.hex(), Label.HARMFUL)
    numbers = read(parquet(tmp_path, id=[1, 2], label=pa.array(["benign", "unsafe"]).dictionary_encode()))
    assert said(numbers) == [("1", "", Label.BENIGN), ("2", "", Label.HARMFUL)]


def test_csv_is_read_with_a_byte_order_mark_blank_lines_and_foreign_columns(tmp_path: Path) -> None:
    path = text(tmp_path, "\ufeffrow,item_id,label\r\n1,a, Harmful \r\n\r\n2,b,\r\n")

    assert said(read(path)) == [("a", "", Label.HARMFUL), ("b", "", None)]


def test_an_id_with_a_new_line_in_it_is_a_bad_row_and_no_two_rows(tmp_path: Path) -> None:
    assert codes(text(tmp_path, 'item_id,label\n"a\nb",safe\nc,safe\n')) == [(0, "E_ID_INVALID")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12), min_size=1
    )
)
@example(["=1+1", "'=x", "''", "-a", '"', ","])
def test_ids_come_back_from_an_exported_sheet(tmp_path: Path, ids: list[str]) -> None:
    rows = [csv_row({"item_id": item_id, "label": "harmful"}, ["item_id", "label"]) for item_id in ids]
    path = text(tmp_path, csv_header(["item_id", "label"]) + "".join(rows))

    assert [item_id for item_id, _, _ in said(read(path))] == ids


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        ("x,,maybe", "E_LABEL"),
        (f"x,,{'y' * 1000}", "E_LABEL"),
        (",,harmful", "E_ID_EMPTY"),
        (f"{'x' * 513},,harmful", "E_ID_INVALID"),
        ("x\x1b[2J,,harmful", "E_ID_INVALID"),
        ("x,abc,harmful", "E_CONTENT_HASH"),
        (f"x,{'g' * 64},harmful", "E_CONTENT_HASH"),
        ("x,harmful", "E_LABEL_FILE"),
        ("x,,harmful,more", "E_LABEL_FILE"),
    ],
)
def test_a_bad_row_is_told_by_its_number_and_the_others_are_read(tmp_path: Path, cells: str, code: str) -> None:
    path = text(tmp_path, f"item_id,content,label\na,,safe\n{cells}\nb,,safe\n")

    assert codes(path) == [(1, code)]
    assert [item.row for item in read(path) if not item.flaw] == [0, 2]


def test_bad_cells_of_parquet_are_told_by_their_rows(tmp_path: Path) -> None:
    path = parquet(tmp_path, content=[HASH, b"short", HASH, b"x" * 4_000_000], label=["safe", "safe", "no", "safe"])

    assert codes(path) == [(1, "E_CONTENT_HASH"), (2, "E_LABEL"), (3, "E_CONTENT_HASH")]
    long = parquet(tmp_path, item_id=["a", "x" * 4_000_000], label=["safe", "safe"])
    assert codes(long) == [(1, "E_TEXT_TOO_LONG")]


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", "E_LABEL_FILE", "an empty file"),
        (b'{"item_id": "a"}', "E_LABEL_FILE", "JSON"),
        (b"PK\x03\x04", "E_LABEL_FILE", "ZIP"),
        (b"\x80\x04\x95pickle.\0", "E_LABEL_FILE", "binary"),
        (b"item_id,word\na,harmful\n", "E_COLUMN_MISSING", "expected label"),
        (b"label\nharmful\n", "E_COLUMN_MISSING", "item_id or content"),
        (b"item_id,label,label\na,safe,harmful\n", "E_COLUMN_DUPLICATE", "label"),
        (b"item_id,label\na,saf\xe9\n", "E_TEXT_UTF8", "UTF-8"),
        (b'item_id,label\n"a"b,safe\n', "E_LABEL_FILE", "line 2"),
        (b'item_id,label\n"a,safe\n', "E_LABEL_FILE", "CSV"),
        (b"item_id,label\n" + b"x" * 200_000 + b",safe\n", "E_LABEL_FILE", "limit"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_labels_is_refused_in_a_sentence(
    tmp_path: Path, content: bytes, code: str, said: str
) -> None:
    with pytest.raises(UserMistake, match=said) as refused:
        read(text(tmp_path, content))
    assert refused.value.code == code


@pytest.mark.parametrize("column", [{"label": [1, 0]}, {"item_id": [1.5, 2.5]}, {"content": [[1], [2]]}])
def test_a_column_of_another_type_is_refused(tmp_path: Path, column: dict[str, Any]) -> None:
    with pytest.raises(UserMistake, match="column") as refused:
        read(parquet(tmp_path, **{"item_id": ["a", "b"], "label": ["safe", "safe"]} | column))
    assert refused.value.code == "E_COLUMN_TYPE"


def test_a_table_that_is_too_long_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = text(tmp_path, "item_id,label\n" + "a,safe\n" * 11)
    assert len(read(path)) == 11
    for name, most in [("MOST_ROWS", 10), ("MOST_BYTES", 80)]:
        with monkeypatch.context() as patch:
            patch.setattr(label_tables, name, most)
            with pytest.raises(UserMistake, match=f"at most {most}"):
                read(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.booleans())
@example(b"\0,label", True)
def test_any_bytes_are_read_or_refused_in_a_sentence(tmp_path: Path, data: bytes, headed: bool) -> None:
    path = text(tmp_path, (b"item_id,label\n" if headed else b"") + data)
    try:
        items = read(path)
    except UserMistake:
        return
    assert all(item.flaw or item.annotation.label in (None, *Label) for item in items)
    assert csv.field_size_limit() == 131_072
