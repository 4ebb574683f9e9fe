"""The rule that activations kept beside a part must keep: intact, and of rows of the part that were read."""

import hashlib
from collections.abc import Iterator, Sequence

from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord
from infra.activation_files import activations_from_parquet
from pipelines.sound_rows import Row
from pipelines.violation import Violation


def check_activations(store: BlobStore, record: CommitRecord, rows: Sequence[Row]) -> Iterator[Violation]:
    """I4."""
    stored = record.activations
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
    read = {row["row"] for row in rows if row["risk"] is not None}
    if not read <= kept:
        found = f"{len(read - kept)} rows have a risk and no activation: run the part again"
        yield Violation("I4", stored.key, found)
