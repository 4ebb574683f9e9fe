"""Kept activations of an item, or those that are old, are erased: from every file, also from those of replaced parts.

A new file without the rows is written, then the record that names it, then the old file goes: who dies on the way
leaves the old state or the new one, and the repeated command removes what is left.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from autosteer_core.audit_log import Deed
from autosteer_core.commit import ACTIVATIONS, is_sealed, read_activations_of
from autosteer_core.erasures import Erasure, activations_now, erasure_of, pieces_of, put_erasure
from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, Stored, read_records
from autosteer_core.run import read_record
from infra.activation_files import without_rows
from infra.activation_table import activation_table
from infra.open_store import open_store
from pipelines.audit_heads import log_deed

Progress = Callable[[int, int], None]
_Wanted = Callable[[BlobStore, CommitRecord, bytes], set[int]]


@dataclass(frozen=True, slots=True)
class Erased:
    """Rows whose activations went, and the files that were rewritten or removed for it."""

    rows: int = 0
    files: int = 0

    def __add__(self, other: "Erased") -> "Erased":
        """Of both outputs."""
        return Erased(self.rows + other.rows, self.files + other.files)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def erase_item(outs: Sequence[str], item_id: str, progress: Progress = lambda done, of: None) -> Erased:
    """Erase what was read of the item in these runs. Verdicts stay: they are what was decided, not what was read.

    Raises:
        UserMistake: no run there, or E_UNFINISHED: a worker might be writing the item just now; nothing was changed.
        NotConserved: a file is gone or was changed after its commit.
    """

    def rows(store: BlobStore, record: CommitRecord, data: bytes) -> set[int]:
        table = activation_table(data, verified=True)
        return {row for row, found in zip(table.row_N.tolist(), table.item_ids(), strict=True) if found == item_id}

    # The log shall not tell the id of whoever asked to be forgotten, but prove that it was done.
    return _erase(outs, rows, {"item_sha256": sha256(item_id.encode()).hexdigest()}, progress)


def erase_older(outs: Sequence[str], seconds: float, progress: Progress = lambda done, of: None) -> Erased:
    """Erase what was committed so many seconds ago or earlier, by the store's own clock; raises as `erase_item`."""

    def rows(store: BlobStore, record: CommitRecord, data: bytes) -> set[int]:
        old = store.age(f"commits/{record.part_id}.json") >= seconds
        return set(activation_table(data, verified=True).row_N.tolist()) if old else set()

    return _erase(outs, rows, {"older_than_seconds": seconds}, progress)


def _erase(outs: Sequence[str], wanted: _Wanted, about: Mapping[str, Any], progress: Progress) -> Erased:
    stores = [open_store(out) for out in outs]
    for out, store in zip(outs, stores, strict=True):
        read_record(store)
        if not is_sealed(store):
            raise UserMistake(
                f"{out} is not finished, a worker might be writing what is to be erased: repeat the run's command to "
                "its end, then erase",
                "E_UNFINISHED",
            )
    found = Erased()
    for store in stores:
        here = sum(_each_part(store, wanted, progress), Erased())
        if here.files:
            log_deed(store, Deed.ITEM_ERASED, {**about, **here.as_json()})
        found += here
    return found


def _each_part(store: BlobStore, wanted: _Wanted, progress: Progress) -> Iterator[Erased]:
    """Also parts that were replaced: their files may still be there."""
    known = read_records(store)
    records, there = list(known.commits.values()), set(store.keys(ACTIVATIONS))
    for done, record in enumerate(records, 1):
        stored = activations_now(record, erasure_of(store, record.part_id))
        if record.part_id not in known.redone or (stored and stored.key in there):
            yield _erased(store, record, wanted)
        progress(done, len(records))
    yield Erased(files=_lost_attempts(store, records))


def _erased(store: BlobStore, record: CommitRecord, wanted: _Wanted) -> Erased:
    before = erasure_of(store, record.part_id)
    stored = activations_now(record, before)
    data = read_activations_of(store, record) if stored else None
    rows = wanted(store, record, data) if data else set()
    if rows:
        assert data is not None and stored is not None
        put_erasure(store, _without(store, record, data, rows | (before.rows if before else set())))
        store.delete(stored.key)
    if record.activations and (rows or (before and before.replaced)):
        store.delete(record.activations.key)  # again, where a command died in between
    return Erased(len(rows), int(bool(rows)))


def _without(store: BlobStore, record: CommitRecord, data: bytes, rows: set[int]) -> Erasure:
    left = without_rows(data, rows)
    if left is None:
        return Erasure(record.part_id, pieces_of(rows), replaced=True)
    key = f"{ACTIVATIONS}{record.part_id}.erased-{uuid.uuid4().hex[:8]}.parquet"
    store.put_if_absent(key, left)
    return Erasure(record.part_id, pieces_of(rows), True, Stored(key, sha256(left).hexdigest(), len(left)))


def _lost_attempts(store: BlobStore, records: Sequence[CommitRecord]) -> int:
    """Files that nothing names: of attempts that lost, or of an erasure that died. The run is over."""
    named = {
        stored.key for record in records if (stored := activations_now(record, erasure_of(store, record.part_id)))
    }
    lost = [key for key in store.keys(ACTIVATIONS) if key not in named]
    for key in lost:
        store.delete(key)
    return len(lost)
