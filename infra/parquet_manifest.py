"""The rows of Parquet files."""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from autosteer_core.cutting import Stretch, estimated_cost
from autosteer_core.values import Item, Part
from infra.column_map import ColumnMap
from infra.manifest_files import ManifestFiles
from infra.manifest_rows import refuse_changed
from infra.parquet_columns import UTF8_BYTES_PER_CHAR, cells_of, refuse_wrong_types
from infra.parquet_cursor import ParquetCursor
from infra.parquet_file import opened_parquet
from infra.row_to_item import MAX_ID_CHARS, id_stem, is_id, row_place, row_to_item

_IDS_PER_BATCH = 10_000
_Left = tuple[str, ParquetCursor | None, ExitStack]


class ParquetRows:
    """Reads only the row groups that a part needs, a few rows at a time."""

    def __init__(self, files: ManifestFiles, columns: ColumnMap, max_text_chars: int) -> None:
        self._files = files
        self._columns = columns
        self._max_text_chars = max_text_chars
        self._groups: dict[str, array[float]] = {}
        self._left: _Left = ("", None, ExitStack())

    def rows(self, name: str) -> int:
        with self._opened(name) as file:
            self._present(file, name)
            # Kept, because a stored file would have to be fetched again for it.
            self._groups[name] = self._costs(file.metadata)
            return int(file.metadata.num_rows)

    def items(self, part: Part) -> Iterator[Item]:
        """Goes on where the part before ended, if that is in the same row group: parts come in order."""
        with ExitStack() as opened:
            cursor = self._cursor(part, opened)
            refuse_changed(part, cursor.rows, self._files.describe(part.source))
            row = part.start
            for batch in cursor.batches(part.start, part.stop):
                for index in range(batch.num_rows):
                    cells = cells_of(batch, index, self._max_text_chars, self._files.image)
                    place = row_place(row, part.source, self._files.names)
                    yield row_to_item(place, cells, self._max_text_chars)
                    row += 1
            self._left = (part.source, cursor, opened.pop_all())

    def _cursor(self, part: Part, opened: ExitStack) -> ParquetCursor:
        """The one that the last part left, or one on a newly opened file; `opened` closes it."""
        (source, cursor, stack), self._left = self._left, ("", None, ExitStack())
        opened.push(stack)
        if cursor and source == part.source and cursor.leads_to(part.start):
            return cursor
        opened.close()
        file = opened.enter_context(self._opened(part.source))
        return ParquetCursor(file, self._present(file, part.source), part.start)

    def ids(self, name: str) -> Iterator[Sequence[str]]:
        stem, row = id_stem(name, self._files.names), 0
        with self._opened(name) as file:
            for batch in file.iter_batches(_IDS_PER_BATCH, columns=[self._columns.id], use_threads=False):
                found = _texts(batch.column(0))
                yield [item_id if is_id(item_id) else f"{stem}{n}" for n, item_id in enumerate(found, row)]
                row += len(found)

    def stretches(self, name: str) -> Iterator[Stretch]:
        """One a row group, by the sizes that the file states: a picture named by its path counts as its path."""
        if name not in self._groups:
            self.rows(name)
        sizes = self._groups[name]
        for rows, cost in zip(sizes[::2], sizes[1::2], strict=True):
            yield Stretch(int(rows), cost)

    def _costs(self, meta: Any) -> "array[float]":
        """Rows and cost of each row group, by turns: sixteen bytes a group."""
        text = _columns_below(meta, [self._columns.text])
        pictures = _columns_below(meta, [self._columns.image, self._columns.images])
        found = array("d")
        for number in range(meta.num_row_groups):
            group = meta.row_group(number)
            sizes = [sum(group.column(c).total_uncompressed_size for c in some) for some in (text, pictures)]
            found.extend((group.num_rows, estimated_cost(group.num_rows, *sizes)))
        return found

    def _opened(self, name: str) -> Any:
        return opened_parquet(self._files.open(name), self._files.describe(name))

    def _present(self, file: Any, name: str) -> dict[str, str]:
        where = self._files.describe(name)
        present = self._columns.present_in(file.schema_arrow.names, where)
        refuse_wrong_types(file.schema_arrow, present, where)
        return present


def _columns_below(meta: Any, names: Sequence[str]) -> list[int]:
    """The numbers of the leaf columns that belong to these columns."""
    if not meta.num_row_groups:
        return []
    paths = [meta.schema.column(number).path for number in range(meta.num_columns)]
    return [n for n, path in enumerate(paths) if any(path == name or path.startswith(f"{name}.") for name in names)]


def _texts(ids: Any) -> list[str | None]:
    """An id that is not valid UTF-8 is none, and must not stop the check of the others."""
    if isinstance(ids, pa.DictionaryArray):
        ids = pa.DictionaryArray.from_arrays(ids.indices, _short(ids.dictionary)).dictionary_decode()
    elif pa.types.is_integer(ids.type):
        ids = ids.cast(pa.string())
    elif not pa.types.is_null(ids.type):
        ids = _short(ids)
    try:
        return list(ids.to_pylist())
    except UnicodeDecodeError:
        return [_decoded(cell) for cell in ids.cast(pa.large_binary()).to_pylist()]


def _short(ids: Any) -> Any:
    """Without those that are too long to be ids: a dictionary can make millions of very long ones of a few bytes."""
    return pc.if_else(pc.less_equal(pc.binary_length(ids), MAX_ID_CHARS * UTF8_BYTES_PER_CHAR), ids, None)


def _decoded(cell: bytes | None) -> str | None:
    try:
        return None if cell is None else cell.decode()
    except UnicodeDecodeError:
        return None
