"""The rule that activations kept beside a part must keep: intact, and of rows of the part that were read."""

import hashlib
from collections.abc import Iterator, Sequence

from autosteer_core.erasures import ERASED, Erasure, activations_now, erasure_of
from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, NotConserved
from infra.activation_files import activations_from_parquet
from pipelines.sound_rows import Row
from pipelines.violation import Violation


def check_activations(store: BlobStore, record: CommitRecord, rows: Sequence[Row]) -> Iterator[Violation]:
    """I4; what was erased is not missed, and must not be there."""
    try:
        erasure = erasure_of(store, record.part_id)
    except NotConserved as error:
        yield Violation("I4", f"{ERASED}{record.part_id}.json", str(error))
        return
    if erasure and erasure.replaced and record.activations and _there(store, record.activations.key):
        found = "it holds rows that were erased: repeat `autosteer erase`"
        yield Violation("I4", record.activations.key, found)
    yield from _check_file(store, record, erasure, rows)


def _there(store: BlobStore, key: str) -> bool:
    try:
        store.first_bytes(key, 1)
    except KeyError:
        return False
    return True


def _check_file(
    store: BlobStore, record: CommitRecord, erasure: Erasure | None, rows: Sequence[Row]
) -> Iterator[Violation]:
    stored = activations_now(record, erasure)
    erased = erasure.rows if erasure else set()
    if stored is None:
        return
    try:
        data = store.get(stored.key)
    except KeyError:
        yield Violation("I4", stored.key, "it is gone: restore it, or run the part again")
        return
    if len(data) != stored.bytes or hashlib.sha256(data).hexdigest() != stored.sha256:
        yield Violation("I4", stored.key, "it is not what was committed: restore it, or run the part again")
        return
    try:
        kept = activations_from_parquet(data).keys()
    except UserMistake as error:
        yield Violation("I4", stored.key, str(error))
        return
    read = {row["row"] for row in rows if row["risk"] is not None} - erased
    if erased & kept:
        yield Violation("I4", stored.key, f"{len(erased & kept)} rows in it were erased: repeat `autosteer erase`")
    if not read <= kept:
        found = f"{len(read - kept)} rows have a risk and no activation: run the part again"
        yield Violation("I4", stored.key, found)
