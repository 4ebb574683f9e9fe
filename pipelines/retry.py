"""Rows of a run that are wanted anew: parts that were set aside, and rows whose errors may pass by themselves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from autosteer_core.audit_log import Deed
from autosteer_core.commit import commit_part, read_activations_of, read_part, unseal
from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, RedoRecord, read_records, redo
from autosteer_core.run import read_record
from autosteer_core.values import AGAIN, BundleId, Lease, Part, PartId, Verdict
from infra.activation_files import activations_from_parquet, activations_to_parquet, origin_of
from infra.open_store import open_store
from infra.verdict_files import provenance_of, verdicts_from_parquet, verdicts_to_parquet
from pipelines.audit_heads import log_deed
from pipelines.queue_files import known_queue

# On another machine, with more memory, or once a missing picture is in its place, the same item may be answered.
TRANSIENT = frozenset(
    {
        "E_DECODER_DIED",
        "E_ENCODER_DIED",
        "E_FETCH_FAILED",
        "E_FETCH_TIME",
        "E_IMAGE_NOT_FOUND",
        "E_OUT_OF_MEMORY",
        "E_POISONED",
        "E_SET_ASIDE",
    }
)


@dataclass(frozen=True, slots=True)
class Retried:
    """Rows that the repeated command will do again, and parts that are no longer set aside."""

    rows: int
    parts: int


def retry(out: str, errors: str, server: str | None = None) -> Retried:
    """Open parts that were set aside, and rows with the `errors`: `transient`, `all`, or codes with commas between.

    The rows that stay keep their verdicts: nothing is computed here. Safe to repeat, and to be killed.

    Raises:
        UserMistake: no run at `out`, or a code that is none.
        NotConserved: a part is gone or was changed after its commit.
    """
    wanted = _codes(errors)
    store = open_store(out)
    run_id = str(read_record(store)["run_id"])
    rows = sum(_reopened(store, committed, wanted) for committed in read_records(store).current)
    with known_queue(out, run_id, server) as queue:
        parts = queue.reopen() if queue else 0
    if rows or parts:
        log_deed(store, Deed.ROWS_REOPENED, {"run_id": run_id, "rows": rows, "parts": parts})
    return Retried(rows, parts)


def _codes(errors: str) -> frozenset[str] | None:
    """None: all of them."""
    if errors == "all":
        return None
    if errors == "transient":
        return TRANSIENT
    codes = frozenset(code.strip() for code in errors.split(","))
    wrong = sorted(code for code in codes if not code.startswith("E_"))
    if wrong:
        raise UserMistake(
            f"--errors {errors}: {wrong[0]!r} is no error code: give transient, all, or codes like E_OUT_OF_MEMORY"
        )
    return codes


def _reopened(store: BlobStore, record: CommitRecord, wanted: frozenset[str] | None) -> int:
    """How many rows of the part will be done again."""
    if record.actions.keys() <= {"answer", "refuse", "allow", "flag"}:
        return 0
    data = read_part(store, record)
    verdicts = verdicts_from_parquet(data)
    again = [row.flaw is not None and (wanted is None or row.flaw.code in wanted) for row in verdicts]
    if not any(again):
        return 0
    runs = list(_runs(again))
    pieces = [[record.start + start, record.start + stop] for start, stop, _ in runs]
    kept = read_activations_of(store, record)
    unseal(store)
    redo(store, RedoRecord(record.part_id, pieces, "retry"))
    part = Part(PartId(record.part_id), record.source, record.start, record.start + record.rows)
    under = None if record.bundle_id is None else BundleId(record.bundle_id)
    for start, stop, anew in runs:
        if not anew:
            piece = part.piece(AGAIN, record.start + start, record.start + stop)
            own = [replace(verdict, under=under) for verdict in verdicts[start:stop]]
            _keep(store, Lease(piece, 0, "retry", 0.0, under=under), own, data, kept)
    return sum(again)


def _runs(again: Sequence[bool]) -> Iterator[tuple[int, int, bool]]:
    """Consecutive rows that are alike, [start, stop)."""
    start = 0
    for anew, group in groupby(again):
        stop = start + len(list(group))
        yield start, stop, anew
        start = stop


def _keep(
    store: BlobStore, lease: Lease, verdicts: Sequence[Verdict], data: bytes, activations: bytes | None
) -> None:
    """Rows that stay as they are, under the versions that made them, with what was read of them."""
    piece = lease.part
    kept = verdicts_to_parquet(verdicts, provenance_of(data) | {"part_id": str(piece.part_id)}, piece.source)
    read = None
    if activations is not None:
        vectors = activations_from_parquet(activations)
        told = [replace(verdict, activation=vectors.get(verdict.row)) for verdict in verdicts]
        read = activations_to_parquet(told, origin_of(activations))
    commit_part(store, lease, verdicts, kept, read)
