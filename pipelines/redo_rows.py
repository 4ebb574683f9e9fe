"""Some rows of a committed part are wanted anew: a record replaces it by pieces, and rows that stay are kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from autosteer_core.commit import commit_part, read_activations_of, read_part, unseal
from autosteer_core.erasures import Erasure, erasure_of, put_erasure
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, RedoRecord, redo
from autosteer_core.values import AGAIN, BundleId, Lease, Part, PartId, Verdict
from infra.activation_files import activations_from_parquet, activations_to_parquet, origin_of
from infra.verdict_files import provenance_of, verdicts_from_parquet, verdicts_to_parquet


def redo_rows(store: BlobStore, record: CommitRecord, again: Sequence[bool], reason: str) -> int:
    """Have the marked rows of the part done by the next run of the same command; returns how many.

    The others keep their verdicts and activations: nothing is computed here. Safe to repeat, and to be killed: what
    was not kept by then is done again too.

    Raises:
        NotConserved: the part is gone or was changed after its commit.
    """
    if not any(again):
        return 0
    data = read_part(store, record)
    part = _Part(store, record, data, verdicts_from_parquet(data), read_activations_of(store, record))
    erasure = erasure_of(store, record.part_id)
    runs = list(_runs(again))
    unseal(store)
    redo(store, RedoRecord(record.part_id, [[record.start + a, record.start + b] for a, b, _ in runs], reason))
    for start, stop, anew in runs:
        if not anew:
            part.keep(start, stop, reason, erasure)
    return sum(again)


def _runs(again: Sequence[bool]) -> Iterator[tuple[int, int, bool]]:
    """Consecutive rows that are alike, [start, stop)."""
    start = 0
    for anew, group in groupby(again):
        stop = start + len(list(group))
        yield start, stop, bool(anew)
        start = stop


@dataclass(frozen=True, slots=True)
class _Part:
    store: BlobStore
    record: CommitRecord
    data: bytes
    verdicts: Sequence[Verdict]
    activations: bytes | None

    def keep(self, start: int, stop: int, reason: str, erasure: Erasure | None) -> None:
        """Rows that stay as they are, under the versions that made them, with what was read of them."""
        record = self.record
        under = None if record.bundle_id is None else BundleId(record.bundle_id)
        verdicts = [replace(verdict, under=under) for verdict in self.verdicts[start:stop]]
        whole = Part(PartId(record.part_id), record.source, record.start, record.start + record.rows)
        piece = whole.piece(AGAIN, record.start + start, record.start + stop)
        told = provenance_of(self.data) | {"part_id": str(piece.part_id)}
        read = None
        if self.activations is not None:
            vectors = activations_from_parquet(self.activations)
            rows = [replace(verdict, activation=vectors.get(verdict.row)) for verdict in verdicts]
            read = activations_to_parquet(rows, origin_of(self.activations))
        gone = erasure and erasure.between(piece.start, piece.stop, piece.part_id)
        if gone:  # before the commit: that a row lacks its activation must be known by then
            put_erasure(self.store, gone)
        lease = Lease(piece, 0, reason, 0.0, under=under)
        commit_part(self.store, lease, verdicts, verdicts_to_parquet(verdicts, told, piece.source), read)
