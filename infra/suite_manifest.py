"""The Parquet manifest of a suite: a manifest's columns, and what an evaluation must know besides."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from autosteer_core.errors import UserMistake
from infra.parquet_file import opened_parquet

SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("text", pa.string()), ("images", pa.list_(pa.binary())), ("label", pa.string()),
        ("group", pa.string()), ("pair", pa.string()), ("source", pa.string()), ("kind", pa.string()),
        ("modality", pa.string()), ("choices", pa.list_(pa.string())), ("answer", pa.string()),
    ]
)  # fmt: skip

# Pictures make rows large: a row group must fit into memory many times over.
_ROWS_PER_GROUP = 256


@dataclass(frozen=True, slots=True)
class SuiteFacts:
    """What a suite says of an item beyond its annotation; an open question has an answer but no choices."""

    kind: str
    modality: str
    choices: tuple[str, ...]
    answer: str | None


def write_suite_manifest(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """All rows, whole or not at all; an older file of the name is replaced. The same rows give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with pq.ParquetWriter(unfinished, SCHEMA, write_page_checksum=True, compression="zstd") as writer:
            remaining = iter(rows)
            while group := list(islice(remaining, _ROWS_PER_GROUP)):
                writer.write_table(pa.Table.from_pylist(group, SCHEMA))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def suite_facts(path: Path) -> dict[str, SuiteFacts]:
    """Item id -> facts, without reading texts or pictures.

    Raises:
        UserMistake: the file cannot be read, or is no manifest of a suite.
    """
    columns = ["id", "kind", "modality", "choices", "answer"]
    try:
        raw = path.open("rb")
    except OSError as error:
        raise UserMistake(f"{path} cannot be read ({error.strerror}): make it with `autosteer import`") from error
    with opened_parquet(cast(Any, raw), str(path)) as file:
        missing = sorted(set(columns) - set(file.schema_arrow.names))
        if missing:
            raise UserMistake(f"{path} has no column {', '.join(missing)}: make it with `autosteer import`")
        rows = file.read(columns=columns).to_pylist()
    return {
        row["id"]: SuiteFacts(row["kind"], row["modality"], tuple(row["choices"] or ()), row["answer"])
        for row in rows
    }
