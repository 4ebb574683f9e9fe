"""The commit protocol: a part's rows become visible whole, at most once, and nothing is lost.

Order matters: write the part under a name of this attempt, create the commit record if absent, complete the
part in the queue. Dying in between repeats the part, and the second commit is refused.
"""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from autosteer_core.errors import AutosteerError, LeaseLost
from autosteer_core.ports import BlobStore
from autosteer_core.row_ids import RowIds
from autosteer_core.values import Lease, Part, Verdict

SUCCESS = "_SUCCESS"
SEALED = "dataset.json"


class NotConserved(AutosteerError):
    """The output does not hold exactly one row per input row: it is not sealed."""


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """What was committed for a part: where it lies, how to check it, and what it holds; `ids` is a RowIds' total."""

    part_id: str
    token: int
    key: str
    sha256: str
    bytes: int
    rows: int
    actions: dict[str, int]
    ids: str


@dataclass(frozen=True, slots=True)
class SplitRecord:
    """That a part is decided in halves, each with a record of its own."""

    part_id: str
    token: int
    split: list[list[int]]
    reason: str


Record = CommitRecord | SplitRecord


def commit_part(store: BlobStore, lease: Lease, verdicts: Sequence[Verdict], data: bytes) -> bool:
    """Publish `data` (the encoded verdicts) for the leased part; False if another attempt was first.

    Raises:
        NotConserved: the verdicts are not exactly the part's rows; nothing is written.
    """
    part = lease.part
    if [verdict.row for verdict in verdicts] != list(range(part.start, part.stop)):
        raise NotConserved(f"part {part.part_id} has rows {part.start} to {part.stop}, {len(verdicts)} verdicts came")
    key = f"parts/{part.part_id}.{lease.token}-{uuid.uuid4().hex[:8]}.parquet"
    record = CommitRecord(
        part_id=part.part_id,
        token=lease.token,
        key=key,
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        rows=len(verdicts),
        actions=dict(sorted(Counter(str(verdict.action) for verdict in verdicts).items())),
        ids=str(RowIds.of(part.source, ((verdict.row, verdict.item_id) for verdict in verdicts))),
    )
    store.put_if_absent(key, data)
    if _decide(store, record):
        return True
    store.delete(key)
    return False


def split_part(store: BlobStore, lease: Lease, reason: str) -> list[Part]:
    """Decide that the leased part is done in halves; safe to repeat.

    Raises:
        LeaseLost: it is committed already, by a worker that was thought dead.
    """
    part = lease.part
    halves = part.halves()
    split = SplitRecord(part.part_id, lease.token, [[half.start, half.stop] for half in halves], reason)
    if not _decide(store, split) and isinstance(fate(store, part), CommitRecord):
        raise LeaseLost(f"part {part.part_id} is committed, and cannot be halved any more")
    return list(halves)


def fate(store: BlobStore, part: Part) -> Record | None:
    """What is decided of the part, for good, whatever a queue says; None where nothing is."""
    try:
        return _parsed(store.get(_slot(part.part_id)))
    except KeyError:
        return None


def leaves(records: Mapping[str, Record], parts: Iterable[Part]) -> Iterator[Part]:
    """The parts with every one that is split replaced by its halves, in the order of their rows."""
    for part in parts:
        if isinstance(records.get(part.part_id), SplitRecord):
            yield from leaves(records, part.halves())
        else:
            yield part


def _slot(part_id: str) -> str:
    """The one key that decides a part: who puts first, wins."""
    return f"commits/{part_id}.json"


def _decide(store: BlobStore, record: Record) -> bool:
    return store.put_if_absent(_slot(record.part_id), json.dumps(asdict(record)).encode())


def _parsed(data: bytes) -> Record:
    values = json.loads(data)
    return SplitRecord(**values) if "split" in values else CommitRecord(**values)


def read_records(store: BlobStore, seen: set[str] | None = None) -> Iterator[Record]:
    """Every record whose key is not among those `seen`, which it joins."""
    seen = set() if seen is None else seen
    for key in store.keys("commits/"):
        if key not in seen:
            record = _parsed(store.get(key))
            seen.add(key)
            yield record


def committed(store: BlobStore) -> Iterator[CommitRecord]:
    """Every commit record, by part id."""
    return (record for record in read_records(store) if isinstance(record, CommitRecord))


def seal(store: BlobStore, parts: Sequence[Part], ids: RowIds) -> list[CommitRecord]:
    """Check that the output has the `ids` that the manifest has, then write the list of parts and `_SUCCESS`.

    Safe to repeat. Readers follow the list: what it does not name was never published.

    Raises:
        NotConserved: a part is missing, foreign, or holds other rows than it should.
    """
    known = {record.part_id: record for record in read_records(store)}
    parts = list(leaves(known, parts))
    records = {part_id: record for part_id, record in known.items() if isinstance(record, CommitRecord)}
    wanted = {str(part.part_id): part for part in parts}
    if records.keys() != wanted.keys():
        missing, foreign = len(wanted.keys() - records.keys()), len(records.keys() - wanted.keys())
        raise NotConserved(f"{missing} parts are missing and {foreign} are foreign: run the same command again")
    for part_id, part in wanted.items():
        record = records[part_id]
        if record.rows != part.rows or sum(record.actions.values()) != part.rows:
            raise NotConserved(f"part {part_id} has {part.rows} input rows, its commit record says {record.rows}")
    ordered = [records[str(part.part_id)] for part in parts]
    found = sum((RowIds(record.rows, int(record.ids, 16)) for record in ordered), RowIds())
    if found != ids:
        raise NotConserved(
            f"{store.describe()} holds {found.rows} rows with ids {found}, the manifest has {ids.rows} with {ids}: "
            "the manifest changed while the run was going on; run it again with an empty --out"
        )
    store.put_if_absent(SEALED, json.dumps({"parts": [asdict(record) for record in ordered]}, indent=1).encode())
    store.put_if_absent(SUCCESS, b"")
    return ordered


def read_part(store: BlobStore, record: CommitRecord) -> bytes:
    """The part's bytes, verified; raises NotConserved if they are gone or changed."""
    try:
        data = store.get(record.key)
    except KeyError:
        raise NotConserved(
            f"{record.key} is gone from {store.describe()}: delete its commit record and run again"
        ) from None
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise NotConserved(
            f"{record.key} in {store.describe()} was changed after its commit: delete both and run again"
        )
    return data
