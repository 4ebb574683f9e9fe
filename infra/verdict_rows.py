"""Committed rows as plain values, with the versions that made them: for writing them in another form."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

from autosteer_core.errors import UserMistake
from infra.parquet_file import opened_parquet
from infra.verdict_files import lacking_columns

_MAPS = ("compared", "beside")
_ROWS_PER_BATCH = 256


def rows_from_parquet(data: bytes) -> Iterator[dict[str, Any]]:
    """Column name -> value for every row in order; whatever columns there are, so that older outputs read too."""
    with opened_parquet(BytesIO(data), "a file of verdicts") as file:
        for batch in file.iter_batches(_ROWS_PER_BATCH):
            for row in batch.to_pylist():
                yield row | {name: dict(row[name]) for name in _MAPS if row.get(name) is not None}


def columns_from_parquet(data: bytes, names: Sequence[str]) -> dict[str, list[Any]]:
    """Some columns of all rows, in order, where nobody needs the answers."""
    with opened_parquet(BytesIO(data), "a file of verdicts") as file:
        table = file.read(columns=list(names))
        return {name: table[name].to_pylist() for name in names}


def whole_rows_from_parquet(data: bytes) -> list[dict[str, Any]]:
    """As `rows_from_parquet`, of a file that has every column of a verdict, each of its type.

    Raises:
        UserMistake: it has not; a digest made of damaged bytes does not tell.
    """
    lacking = lacking_columns(data)
    if lacking:
        raise UserMistake(f"it lacks the columns {', '.join(lacking)}, or has them of another type: restore it")
    return list(rows_from_parquet(data))
