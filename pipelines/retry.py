"""Rows of a run that are wanted anew: parts that were set aside, and rows whose errors may pass by themselves."""

from dataclasses import dataclass

from autosteer_core.audit_log import Deed
from autosteer_core.commit import read_part
from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, read_records
from autosteer_core.run import read_record
from infra.open_store import open_store
from infra.verdict_files import verdicts_from_parquet
from pipelines.audit_heads import log_deed
from pipelines.queue_files import known_queue
from pipelines.redo_rows import redo_rows

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
    verdicts = verdicts_from_parquet(read_part(store, record))
    again = [row.flaw is not None and (wanted is None or row.flaw.code in wanted) for row in verdicts]
    return redo_rows(store, record, again, "retry")
