"""Columns of a file of activations as arrays over its own bytes: no Python object a row, and hardly a copy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autosteer_core.errors import UserMistake
from autosteer_core.kept_activations import HALF
from infra.activation_files import ORIGIN, require_activations
from infra.parquet_file import opened_parquet

ROWS_AT_ONCE = 512  # some megabytes, which stay in a core's cache from the disk to the probe


@dataclass(frozen=True, slots=True)
class ActivationTable:
    """Rows of one file, in its order: (N, d) float16, (N,) int64, (N,) of 32 bytes, (N,) text.

    `ids` is an Arrow array: `taken` makes texts of those that are wanted. `origin` is of all rows.
    """

    activation_ND: NDArray[np.float16]
    row_N: NDArray[np.int64]
    content_N: NDArray[np.void]
    modality_N: NDArray[np.str_]
    ids: Any
    origin: dict[str, str]

    def item_ids(self) -> list[str]:
        """Of all rows."""
        return [str(each) for each in self.ids.to_pylist()]


def taken(ids: Sequence[Any], places: NDArray[np.int64]) -> list[str]:
    """Of the `ids` of tables, one behind the other, those at these places."""
    return [str(each) for each in pa.chunked_array(ids, pa.string()).take(pa.array(places)).to_pylist()]


def activation_table(data: bytes, *, verified: bool = False) -> ActivationTable:
    """All rows at once; `verified` where the bytes were compared with their digest: page checksums say no more then.

    Raises:
        UserMistake: it is no file of activations, it is damaged, or its rows are of several origins or widths.
    """
    [found] = activation_tables(data, rows=2**31 - 1, verified=verified)
    return found


def activation_tables(data: bytes, rows: int = ROWS_AT_ONCE, *, verified: bool = False) -> Iterator[ActivationTable]:
    """The same, at most so many rows at once."""
    with opened_parquet(pa.BufferReader(data), "a file of activations", checksums=not verified) as file:
        require_activations(file.schema_arrow)
        for batch in file.iter_batches(rows, use_threads=False):
            yield _table(batch)


def _table(batch: Any) -> ActivationTable:
    origin = {name: _one(batch.column(name), name) for name in ORIGIN}
    content = batch.column("content")
    return ActivationTable(
        _vectors(batch.column("activation")),
        batch.column("row").to_numpy(),
        np.frombuffer(content.buffers()[1], "V32", len(content), 32 * content.offset),
        _texts(batch.column("modality")),
        batch.column("item_id"),
        origin,
    )


def _vectors(column: Any) -> NDArray[np.float16]:
    """The texts of a column lie one behind the other: where all are of one length, they are a matrix already."""
    offsets_N = np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, 4 * column.offset)
    widths = np.unique(np.diff(offsets_N))
    if len(widths) != 1 or widths[0] % 2:
        raise UserMistake(f"this is no file of activations: its rows have {len(widths)} lengths, expected one")
    count = len(column) * int(widths[0]) // 2
    vectors = np.frombuffer(column.buffers()[2], HALF, count, int(offsets_N[0]))
    return vectors.reshape(len(column), -1)


def _texts(column: Any) -> NDArray[np.str_]:
    of_all: NDArray[np.str_] = np.array(column.dictionary.to_pylist(), np.str_)[column.indices.to_numpy()]
    return of_all


def _one(column: Any, name: str) -> str:
    used = np.unique(column.indices.to_numpy())
    if len(used) != 1:
        raise UserMistake(f"this is no file of activations: its rows have {len(used)} values of {name}, expected one")
    return str(column.dictionary[int(used[0])].as_py())
