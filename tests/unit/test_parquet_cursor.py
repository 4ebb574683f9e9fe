"""Parts of one file read one after another: each gives its own rows, and the file is not read anew for each."""

from io import BufferedIOBase
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosteer_core.values import Item, Part, PartId
from infra.column_map import ColumnMap
from infra.manifest_files import LocalFiles
from infra.parquet_manifest import ParquetRows

ROWS = 130


class CountingFiles(LocalFiles):
    """Counts how often a file is opened, and remembers what was."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, ["m.parquet"])
        self.opened: list[BufferedIOBase] = []

    def open(self, name: str) -> BufferedIOBase:
        self.opened.append(super().open(name))
        return self.opened[-1]


def manifest(folder: Path, rows_per_group: int) -> tuple[CountingFiles, ParquetRows]:
    table = pa.table({"id": list(range(ROWS)), "text": [f"text {row}" for row in range(ROWS)]})
    pq.write_table(table, folder / "m.parquet", row_group_size=rows_per_group)
    files = CountingFiles(folder)
    return files, ParquetRows(files, ColumnMap(), 100)


def part(start: int, stop: int) -> Part:
    return Part(PartId("p"), "m.parquet", start, stop)


def rows(items: list[Item]) -> list[tuple[int, str, str]]:
    return [(item.row, item.item_id, item.text) for item in items]


@settings(max_examples=40)
@given(
    st.integers(1, 140),
    st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(1, 50), st.none() | st.integers(0, 50)), max_size=8),
)
def test_parts_in_any_order_give_their_rows_even_beside_ones_that_were_left(
    tmp_path_factory: pytest.TempPathFactory, rows_per_group: int, asked: list[tuple[int, int, int | None]]
) -> None:
    _, source = manifest(tmp_path_factory.mktemp("m"), rows_per_group)
    left = []
    for start, length, only in asked:
        stop = min(start + length, ROWS)
        reading = source.items(part(start, stop))
        left.append(reading)  # not closed: another part is read while this one is open
        expected = [(row, str(row), f"text {row}") for row in range(start, stop)]
        assert rows(list(islice(reading, only))) == expected[:only]


def test_parts_in_order_open_the_file_once_for_each_row_group_at_most(tmp_path: Path) -> None:
    files, source = manifest(tmp_path, rows_per_group=100)
    found = [item for start in range(0, ROWS, 7) for item in source.items(part(start, min(start + 7, ROWS)))]
    assert [item.row for item in found] == list(range(ROWS))
    assert len(files.opened) == 1


def test_a_part_before_the_last_one_opens_the_file_again_and_closes_the_other(tmp_path: Path) -> None:
    files, source = manifest(tmp_path, rows_per_group=100)
    for start in (50, 10):
        assert [item.row for item in source.items(part(start, start + 5))] == list(range(start, start + 5))
    assert [file.closed for file in files.opened] == [True, False]


def test_row_groups_in_between_are_not_read(tmp_path: Path) -> None:
    files, source = manifest(tmp_path, rows_per_group=10)
    for start in (0, 95):
        assert [item.row for item in source.items(part(start, start + 5))] == list(range(start, start + 5))
    assert len(files.opened) == 2


def test_a_part_that_is_given_up_closes_the_file(tmp_path: Path) -> None:
    files, source = manifest(tmp_path, rows_per_group=10)
    reading = source.items(part(0, 30))
    next(reading)
    reading.close()
    assert files.opened[0].closed
