"""What the schema of a Parquet file from an unknown hand may be: few columns, not deep, plain types."""

import base64
import binascii
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from autosteer_core.errors import UserMistake

MOST_COLUMNS, DEEPEST, MOST_ROW_GROUPS = 2_000, 64, 1_000_000
_EXTENSION = b"ARROW:extension:name"
_NAMES_TOLD = 20


def refuse_odd_schema(file: Any, where: str) -> None:
    """Of an open pyarrow file, before a value of it is read.

    Raises:
        UserMistake: E_SCHEMA_TOO_WIDE, E_SCHEMA_TOO_DEEP, E_ROW_GROUPS, E_COLUMN_DUPLICATE, E_EXTENSION_TYPE.
    """
    _refuse_large(file.metadata, where)
    schema = file.schema_arrow
    twice = sorted(name for name, count in Counter(schema.names).items() if count > 1)
    if twice:
        named = ", ".join(twice[:_NAMES_TOLD])
        raise UserMistake(f"{where} has several columns named {named}: rename them", "E_COLUMN_DUPLICATE")
    for field in schema:
        if _has_extension(field):
            raise _extension(where, f"column {field.name} has an Arrow extension type")
    if _EXTENSION in _told_besides(file.metadata):
        raise _extension(where, "the schema stored beside the columns names an Arrow extension type")


def _refuse_large(meta: Any, where: str) -> None:
    if meta.num_columns > MOST_COLUMNS:
        raise UserMistake(
            f"{where} has {meta.num_columns:,} columns, at most {MOST_COLUMNS:,} are read: leave out the others",
            "E_SCHEMA_TOO_WIDE",
        )
    deepest = max((meta.schema.column(n).path.count(".") for n in range(meta.num_columns)), default=0)
    if deepest >= DEEPEST:
        raise UserMistake(
            f"{where} has columns nested {deepest + 1:,} deep, at most {DEEPEST} are read: write plain columns",
            "E_SCHEMA_TOO_DEEP",
        )
    if meta.num_row_groups > MOST_ROW_GROUPS:
        raise UserMistake(
            f"{where} has {meta.num_row_groups:,} row groups, at most {MOST_ROW_GROUPS:,} are read: "
            "write it with larger row groups",
            "E_ROW_GROUPS",
        )


def _extension(where: str, what: str) -> UserMistake:
    return UserMistake(
        f"{where}: {what}, which can run code when it is read: write it as a plain type", "E_EXTENSION_TYPE"
    )


def _has_extension(field: Any) -> bool:
    """In the field or in anything nested in it."""
    tagged = _EXTENSION in (field.metadata or {}) or isinstance(field.type, pa.BaseExtensionType)
    return tagged or any(_has_extension(child) for child in _inner(field.type))


def _inner(kind: Any) -> Iterator[Any]:
    for index in range(kind.num_fields):
        yield kind.field(index)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        yield pa.field("values", kind.value_type)


def _told_besides(meta: Any) -> bytes:
    """The Arrow schema that writers keep in the footer; pyarrow follows it only where it fits the columns."""
    stored: bytes = (meta.metadata or {}).get(b"ARROW:schema", b"")
    try:
        return base64.b64decode(stored)
    except binascii.Error:
        return stored
