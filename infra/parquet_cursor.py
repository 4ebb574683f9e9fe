"""A place in a Parquet file to go on from: a row group can only be read from its start, parts are much smaller."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

# A few rows at a time: a small file can unpack to very large rows. Fewer, where the file itself says so.
_ROWS_PER_BATCH, _BATCH_BYTES = 16, 64 * 2**20


class ParquetCursor:
    """Reads forward only, from the start of the row group that holds `row`; `present` maps our column names."""

    def __init__(self, file: Any, present: Mapping[str, str], row: int) -> None:
        sizes = (file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        self._ends = list(accumulate(sizes))
        self._ours = {theirs: name for name, theirs in present.items()}
        self._batches = self._read(file, bisect_right(self._ends, row))
        self._rest: tuple[int, Any] | None = None
        self._next = row

    @property
    def rows(self) -> int:
        """Rows of the whole file."""
        return self._ends[-1] if self._ends else 0

    def leads_to(self, row: int) -> bool:
        """Whether going on from here is the shortest way: no row group lies between."""
        return self._next == row or (self._next < row and self._group(self._next) == self._group(row))

    def batches(self, start: int, stop: int) -> Iterator[Any]:
        """Exactly the rows from `start` to `stop`, in order, in columns that bear our names."""
        while self._next < stop:
            first, batch = self._rest or next(self._batches, (stop, None))
            if batch is None:
                return
            inside = batch.slice(max(start - first, 0), max(stop - max(first, start), 0))
            if inside.num_rows:
                yield inside.rename_columns([self._ours[name] for name in inside.schema.names])
            end = first + batch.num_rows
            self._next, self._rest = min(end, stop), (first, batch) if end > stop else None

    def _group(self, row: int) -> int:
        return bisect_right(self._ends, row)

    def _read(self, file: Any, group: int) -> Iterator[tuple[int, Any]]:
        """(row of its first one, batch) from a row group on."""
        first = self._ends[group - 1] if group else 0
        for number in range(group, len(self._ends)):
            rows = _rows_at_once(file.metadata.row_group(number))
            for batch in file.iter_batches(rows, row_groups=[number], columns=list(self._ours), use_threads=False):
                yield first, batch
                first += batch.num_rows


def _rows_at_once(group: Any) -> int:
    """What a file says of its size may be a lie; it only makes the batches of an honest one smaller."""
    each: int = max(group.total_byte_size, 0) // max(group.num_rows, 1)
    return max(1, min(_ROWS_PER_BATCH, _BATCH_BYTES // max(each, 1)))
