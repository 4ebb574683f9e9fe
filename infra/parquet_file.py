"""Opening a Parquet file from an unknown hand."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from typing import Any

import pyarrow.parquet as pq

from autosteer_core.errors import StopWorker
from infra.parquet_damage import damage_named, refuse_damaged_ends
from infra.parquet_schema import refuse_odd_schema


@contextmanager
def opened_parquet(raw: BufferedIOBase, where: str, *, checksums: bool = True) -> Iterator[Any]:
    """The file with plain columns only; page checksums are verified as they are read.

    Without `checksums` they are not: for bytes whose digest was compared a moment ago.

    Raises:
        UserMistake: it is no Parquet file, it is damaged, or its columns are not of the plain kind.
        StopWorker: ray.data is in this process.
    """
    # ray.data registers Arrow types that unpickle what the file says, even while only its schema is read.
    if "ray.data" in sys.modules:
        raise StopWorker("manifests must be read in a process that has not imported ray.data")
    with raw:
        refuse_damaged_ends(raw, where)
        with damage_named(where) as stage:
            # One thread: a reader's process has little address space, and no other core to hope for.
            options = {
                "page_checksum_verification": checksums,
                "pre_buffer": False,
                "arrow_extensions_enabled": False,
            }
            with pq.ParquetFile(raw, **options) as file:
                stage.opened = True
                refuse_odd_schema(file, where)
                yield file
