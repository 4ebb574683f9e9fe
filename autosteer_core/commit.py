"""The commit protocol: a part's rows become visible whole, at most once, and nothing is lost.

Order matters: write the part under a name of this attempt, create the commit record if absent, complete the
part in the queue. Dying in between repeats the part, and the second commit is refused.
"""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from autosteer_core.erasures import activations_now, erasure_of
from autosteer_core.errors import LeaseLost
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, NotConserved, SplitRecord, Stored, decide, fate, read_records
from autosteer_core.row_ids import RowIds
from autosteer_core.values import Lease, Part, Verdict

PARTS, ACTIVATIONS = "parts/", "activations/"
SUCCESS = "_SUCCESS"
SEALED = "dataset.json"


def commit_part(
    store: BlobStore, lease: Lease, verdicts: Sequence[Verdict], data: bytes, activations: bytes | None = None
) -> bool:
    """Publish `data` (the encoded verdicts) for the leased part; False if another attempt was first.

    `activations`, where there are any, are published beside them: what was read of these rows, encoded too.

    Raises:
        NotConserved: the verdicts are not exactly the part's rows, or not all made by the bundle that the lease is
            under; nothing is written.
    """
    part = lease.part
    if [verdict.row for verdict in verdicts] != list(range(part.start, part.stop)):
        raise NotConserved(f"part {part.part_id} has rows {part.start} to {part.stop}, {len(verdicts)} verdicts came")
    _require_one_bundle(lease, verdicts)
    name = f"{part.part_id}.{lease.token}-{uuid.uuid4().hex[:8]}.parquet"
    rows = _stored(f"{PARTS}{name}", data)
    record = CommitRecord(
        part_id=part.part_id,
        token=lease.token,
        source=part.source,
        start=part.start,
        rows=part.rows,
        **asdict(rows),
        actions=dict(sorted(Counter(str(verdict.action) for verdict in verdicts).items())),
        ids=str(RowIds.of(part.source, ((verdict.row, verdict.item_id) for verdict in verdicts))),
        activations=None if activations is None else _stored(f"{ACTIVATIONS}{name}", activations),
        bundle_id=lease.under,
    )
    if record.activations and activations:
        store.put_if_absent(record.activations.key, activations)
    store.put_if_absent(record.key, data)
    if decide(store, record):
        return True
    for key in record.keys:
        store.delete(key)
    return False


def _require_one_bundle(lease: Lease, verdicts: Sequence[Verdict]) -> None:
    """A part is of one bundle, whatever was swapped while it was in work."""
    others = sorted({str(verdict.under) for verdict in verdicts if verdict.under != lease.under})
    if others:
        raise NotConserved(
            f"part {lease.part.part_id} is leased under bundle {lease.under}, some of its rows were made by "
            f"{', '.join(others)}: nothing is written, the part is done again"
        )


def _stored(key: str, data: bytes) -> Stored:
    return Stored(key, hashlib.sha256(data).hexdigest(), len(data))


def split_part(store: BlobStore, lease: Lease, reason: str) -> list[Part]:
    """Decide that the leased part is done in halves; safe to repeat.

    Raises:
        LeaseLost: it is committed already, by a worker that was thought dead.
    """
    part = lease.part
    halves = part.halves()
    split = SplitRecord(part.part_id, lease.token, [[half.start, half.stop] for half in halves], reason)
    if not decide(store, split) and isinstance(fate(store, part), CommitRecord):
        raise LeaseLost(f"part {part.part_id} is committed, and cannot be halved any more")
    return list(halves)


def seal(store: BlobStore, parts: Sequence[Part], ids: RowIds) -> list[CommitRecord]:
    """Check that the output has the `ids` that the manifest has, then write the list of parts and `_SUCCESS`.

    Safe to repeat. Readers follow the list: what it does not name was never published.

    Raises:
        NotConserved: a part is missing, foreign, or holds other rows than it should.
    """
    known = read_records(store)
    wanted = list(known.leaves(parts))
    ordered = [_matching(known.commits.get(part.part_id), part) for part in wanted]
    foreign = len(known.current) - len(wanted)
    if foreign:
        raise NotConserved(
            f"{store.describe()} holds {foreign} parts that are not of this run: choose an empty --out"
        )
    found = sum((RowIds(record.rows, int(record.ids, 16)) for record in ordered), RowIds())
    if found != ids:
        raise NotConserved(
            f"{store.describe()} holds {found.rows} rows with ids {found}, the manifest has {ids.rows} with {ids}: "
            "the manifest changed while the run was going on; run it again with an empty --out"
        )
    # Replaced, because rows that were done again stand elsewhere now; whoever reads sees the old list or the new one.
    store.put(SEALED, json.dumps({"parts": [asdict(record) for record in ordered]}, indent=1).encode())
    store.put_if_absent(SUCCESS, b"")
    return ordered


def is_sealed(store: BlobStore) -> bool:
    """Whether the output is finished."""
    return SUCCESS in store.keys(SUCCESS)


def unseal(store: BlobStore) -> None:
    """The output is not finished any more; its list of parts stays as it was until the next seal."""
    store.delete(SUCCESS)


def _matching(record: CommitRecord | None, part: Part) -> CommitRecord:
    if record is None:
        raise NotConserved(f"part {part.part_id} is missing: run the same command again")
    if (record.source, record.start, record.rows) != (part.source, part.start, part.rows) or sum(
        record.actions.values()
    ) != part.rows:
        raise NotConserved(
            f"part {part.part_id} is rows {part.start} to {part.stop} of {part.source}, its commit record says "
            f"{record.rows} from {record.start} of {record.source}: restore the record from another copy"
        )
    return record


def read_part(store: BlobStore, record: CommitRecord) -> bytes:
    """The part's bytes, verified; raises NotConserved if they are gone or changed."""
    return _verified(store, Stored(record.key, record.sha256, record.bytes))


def read_activations_of(store: BlobStore, record: CommitRecord) -> bytes | None:
    """What is kept beside the part, verified likewise; None where nothing is, also because it was erased."""
    if record.activations is None:
        return None
    stored = activations_now(record, erasure_of(store, record.part_id))
    return None if stored is None else _verified(store, stored)


def _verified(store: BlobStore, stored: Stored) -> bytes:
    try:
        data = store.get(stored.key)
    except KeyError:
        raise NotConserved(
            f"{stored.key} is gone from {store.describe()}: delete its commit record and run again"
        ) from None
    if hashlib.sha256(data).hexdigest() != stored.sha256:
        raise NotConserved(
            f"{stored.key} in {store.describe()} was changed after its commit: delete both and run again"
        )
    return data
