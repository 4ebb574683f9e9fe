"""Opening a Parquet file from an unknown hand."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autosteer_core.errors import StopWorker, UserMistake
from infra.file_kind import HEAD_BYTES, looks_like

_EXTENSION = b"ARROW:extension:name"


@contextmanager
def opened_parquet(raw: BufferedIOBase, where: str) -> Iterator[Any]:
    """The file with plain columns only; page checksums are verified as they are read."""
    # ray.data registers Arrow types that unpickle what the file says, even while only its schema is read.
    if "ray.data" in sys.modules:
        raise StopWorker("manifests must be read in a process that has not imported ray.data")
    with damage_named(raw, where), raw:
        options = {"page_checksum_verification": True, "pre_buffer": False, "arrow_extensions_enabled": False}
        with pq.ParquetFile(raw, **options) as file:
            _refuse_odd_columns(file.schema_arrow, where)
            yield file


@contextmanager
def damage_named(raw: BufferedIOBase, where: str) -> Iterator[None]:
    """Turn what pyarrow says of a bad file into a sentence that names it."""
    head = raw.read(HEAD_BYTES)
    raw.seek(0)
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last for damaged names and texts
        if head.startswith(b"PAR1"):
            raise UserMistake(f"{where} is truncated or damaged ({error}): get a new copy of it") from error
        raise UserMistake(
            f"{where} is not a Parquet file, it looks like {looks_like(head)}: check the path"
        ) from error


def _refuse_odd_columns(schema: Any, where: str) -> None:
    names = schema.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserMistake(f"{where} has several columns named {', '.join(twice)}: rename them")
    for field in schema:
        if _has_extension(field):
            raise UserMistake(
                f"{where}: column {field.name} has an Arrow extension type, which can run code "
                "when it is read: write it as a plain type"
            )


def _has_extension(field: Any) -> bool:
    """In the field or in anything nested in it."""
    inner = [field.type.field(index) for index in range(field.type.num_fields)]
    tagged = _EXTENSION in (field.metadata or {}) or isinstance(field.type, pa.BaseExtensionType)
    return tagged or any(_has_extension(child) for child in inner)
