"""Statements about labels as Parquet bytes: equal statements, in whatever order, are equal bytes."""

from collections.abc import Iterable
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autosteer_core.errors import UserMistake
from autosteer_core.label_book import LabellerKind, Statement
from autosteer_core.values import Label
from infra.parquet_file import opened_parquet

_REPEATED = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        pa.field("content", pa.binary(32), nullable=False),  # SHA-256 of what the model is shown
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("label", _REPEATED, nullable=False),
        pa.field("labeller", _REPEATED, nullable=False),
        pa.field("kind", _REPEATED, nullable=False),
        pa.field("at", pa.string(), nullable=False),  # UTC, ISO 8601
        pa.field("run_id", _REPEATED),
    ]
)


def statements_to_parquet(statements: Iterable[Statement]) -> bytes:
    """One row a statement, sorted by all of its values."""
    rows = sorted((_row(statement) for statement in statements), key=lambda row: [str(cell) for cell in row.values()])
    sink = BytesIO()
    table = pa.Table.from_pylist(rows, _SCHEMA)
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def statements_from_parquet(data: bytes) -> list[Statement]:
    """In the order in which they are written; page checksums are verified.

    Raises:
        UserMistake: it is no file of labels, or it is damaged.
    """
    with opened_parquet(BytesIO(data), "a file of labels") as file:
        table = file.read()
        if not table.schema.equals(_SCHEMA):
            raise UserMistake(f"this is no file of labels: it has the columns {', '.join(table.schema.names)}")
        try:
            return [_statement(row) for row in table.to_pylist()]
        except ValueError as error:
            raise UserMistake(f"a file of labels is damaged ({error}): restore it from another copy") from error


def _row(statement: Statement) -> dict[str, Any]:
    return {
        "content": statement.content,
        "item_id": statement.item_id,
        "label": statement.label.value,
        "labeller": statement.labeller,
        "kind": statement.kind.value,
        "at": statement.at,
        "run_id": statement.run_id,
    }


def _statement(row: dict[str, Any]) -> Statement:
    return Statement(**row | {"label": Label(row["label"]), "kind": LabellerKind(row["kind"])})
