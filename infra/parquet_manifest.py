"""A manifest made of Parquet files."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from autosteer_core.values import Item, Part
from infra.column_map import ColumnMap
from infra.duplicate_ids import refuse_duplicate_ids
from infra.manifest_files import ManifestFiles, sha256_of
from infra.manifest_rows import refuse_changed, refuse_no_rows
from infra.parquet_columns import cells_of, refuse_wrong_types
from infra.parquet_file import opened_parquet
from infra.row_to_item import MAX_TEXT_CHARS, row_place, row_to_item

# A few rows at a time: a small file can unpack to very large rows.
_ROWS_PER_BATCH = 16
_IDS_PER_BATCH = 10_000


class ParquetManifest:
    """Reads only the row groups that a part needs, a few rows at a time."""

    def __init__(
        self, files: ManifestFiles, columns: ColumnMap | None = None, max_text_chars: int = MAX_TEXT_CHARS
    ) -> None:
        self._files = files
        self._columns = columns or ColumnMap()
        self._max_text_chars = max_text_chars

    def files(self) -> Sequence[tuple[str, int, str]]:
        """Also refuses what cannot be served: wrong columns, no rows, an id given twice."""
        return self._planned

    def items(self, part: Part) -> Iterator[Item]:
        where = self._files.describe(part.source)
        with opened_parquet(self._files.open(part.source), where) as file:
            present = self._present(file, where)
            refuse_changed(part, file.metadata.num_rows, where)
            row = part.start
            for batch in _batches(file, part, present):
                for index in range(batch.num_rows):
                    cells = cells_of(batch, index, self._max_text_chars, self._files.image)
                    place = row_place(row, part.source, self._files.names)
                    yield row_to_item(place, cells, self._max_text_chars)
                    row += 1

    @cached_property
    def _planned(self) -> Sequence[tuple[str, int, str]]:
        planned = [(name, self._rows(name), self._digest(name)) for name in self._files.names]
        refuse_no_rows(planned, self._files)
        refuse_duplicate_ids(self._ids)
        return planned

    def _rows(self, name: str) -> int:
        where = self._files.describe(name)
        with opened_parquet(self._files.open(name), where) as file:
            self._present(file, where)
            return int(file.metadata.num_rows)

    def _digest(self, name: str) -> str:
        with self._files.open(name) as file:
            return sha256_of(file)

    def _present(self, file: Any, where: str) -> dict[str, str]:
        present = self._columns.present_in(file.schema_arrow.names, where)
        refuse_wrong_types(file.schema_arrow, present, where)
        return present

    def _ids(self) -> Iterator[tuple[str, int, str | bytes]]:
        for name in self._files.names:
            with opened_parquet(self._files.open(name), self._files.describe(name)) as file:
                for row, item_id in enumerate(_id_cells(file, self._columns.id)):
                    if item_id and item_id.strip():
                        yield name, row, item_id


def _id_cells(file: Any, column: str) -> Iterator[str | bytes | None]:
    """Text ids as bytes, because one that is not valid UTF-8 must not stop the check of the others."""
    for batch in file.iter_batches(batch_size=_IDS_PER_BATCH, columns=[column]):
        ids = batch.column(0)
        if isinstance(ids, pa.DictionaryArray):
            ids = ids.dictionary_decode()
        if pa.types.is_integer(ids.type):
            ids = ids.cast(pa.string())
        yield from ids.cast(pa.large_binary()).to_pylist()


def _batches(file: Any, part: Part, present: dict[str, str]) -> Iterator[Any]:
    """Batches with exactly the part's rows, in order, whose columns bear our names."""
    ours = {theirs: name for name, theirs in present.items()}
    first = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if first < part.stop and first + rows > part.start:
            batches = file.iter_batches(_ROWS_PER_BATCH, row_groups=[group], columns=list(ours))
            for batch in batches:
                inside = _inside(batch, part, first)
                first += batch.num_rows
                rows -= batch.num_rows
                yield inside.rename_columns([ours[name] for name in inside.schema.names])
                if first >= part.stop:
                    return
        first += rows


def _inside(batch: Any, part: Part, first: int) -> Any:
    """The rows of the batch that belong to the part, if the batch starts at row `first`."""
    start = min(max(part.start - first, 0), batch.num_rows)
    return batch.slice(start, max(part.stop - first - start, 0))
