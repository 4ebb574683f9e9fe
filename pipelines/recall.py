"""Everything that a bad bundle decided is done again: parts are found by their commit records."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from autosteer_core.audit_log import Deed
from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, read_records
from autosteer_core.run import read_record
from autosteer_core.values import BundleId
from infra.open_store import open_store
from pipelines.audit_heads import log_deed
from pipelines.pinned_runs import follows, require_following
from pipelines.redo_rows import redo_rows


@dataclass(frozen=True, slots=True)
class RecalledRun:
    """Parts and rows of one output that the bundle decided."""

    out: str
    parts: int
    rows: int


@dataclass(slots=True)
class Recalled:
    """What is to be done again, by output."""

    bundle_id: str
    runs: list[RecalledRun] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Of all runs."""
        return sum(run.rows for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"bundle_id": self.bundle_id, "rows": self.rows, "runs": [asdict(run) for run in self.runs]}


def recall(outs: Sequence[str], bundle_id: BundleId, serving: str | None, *, dry_run: bool = False) -> Recalled:
    """Have every row that the bundle decided done again by the next run of each run's own command.

    `serving` is what the registry promotes: it must be another bundle, or the rows would come out as they were.
    With `dry_run` they are only counted. Safe to repeat, and to be killed.

    Raises:
        UserMistake: E_REGISTRY_STAGE, it serves; E_PINNED, a run has this bundle for good; nothing was changed.
        NotConserved: a part is gone or was changed after its commit.
    """
    if serving == bundle_id:
        raise UserMistake(
            f"bundle {bundle_id} serves: it would decide the rows again; run `autosteer rollback` first, or promote "
            "another",
            "E_REGISTRY_STAGE",
        )
    stores = {out: open_store(out) for out in outs}
    found = {out: list(_touched(out, store, bundle_id)) for out, store in stores.items()}
    recalled = Recalled(str(bundle_id))
    for out, records in found.items():
        rows = sum(record.rows for record in records)
        recalled.runs.append(RecalledRun(out, len(records), rows))
        if dry_run or not records:
            continue
        for record in records:
            redo_rows(stores[out], record, [True] * record.rows, "recall")
        about = {"rows": rows, "parts": len(records), "bundle_id": str(bundle_id), "reason": "recall"}
        log_deed(stores[out], Deed.ROWS_REOPENED, about)
    return recalled


def _touched(out: str, store: BlobStore, bundle_id: BundleId) -> list[CommitRecord]:
    run = read_record(store)
    if not follows(run):
        if run["bundle_id"] == bundle_id:
            require_following(out, run)
        return []
    return [record for record in read_records(store).current if record.bundle_id == bundle_id]
