"""What a run has done so far, read from its output folder only: works while it runs and after it died."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from autosteer_core.commit import is_sealed
from autosteer_core.erasures import activations_now, erasures
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, Stored, read_records
from autosteer_core.run import read_record
from infra.open_store import open_store
from pipelines.queue_files import known_queue


def run_status(out: str, server: str | None = None) -> dict[str, Any]:
    """Rows done and their actions, parts by state, and whether the run is sealed.

    Raises:
        UserMistake: there is no run at `out`.
    """
    store = open_store(out)
    record = read_record(store)
    commits = read_records(store).current
    actions: Counter[str] = Counter()
    bundles: Counter[str] = Counter()
    for commit in commits:
        actions.update(commit.actions)
        if commit.bundle_id is not None:
            bundles[commit.bundle_id] += commit.rows
    rows = sum(entry[1] for entry in record["files"])
    done = sum(commit.rows for commit in commits)
    sealed = is_sealed(store)
    return {
        "run_id": record["run_id"],
        "kind": record["kind"],
        "manifest": record["manifest"],
        "bundle_id": record["bundle_id"],
        "rows_by_bundle": dict(sorted(bundles.items())),  # of a run that follows a registry
        "rows": rows,
        "rows_done": done,
        "parts_committed": len(commits),
        "actions": dict(sorted(actions.items())),
        "activation_bytes": sum(stored.bytes for stored in _activations(store, commits)),
        "state": "finished" if sealed else "unfinished",
        **_queue(out, record["run_id"], server, sealed=sealed),
    }


def _activations(store: BlobStore, commits: Sequence[CommitRecord]) -> Iterator[Stored]:
    """Files of what is kept now: of a part without them, or whose rows were all erased, there is none."""
    erased = {erasure.part_id: erasure for erasure in erasures(store)}
    for commit in commits:
        stored = activations_now(commit, erased.get(commit.part_id))
        if stored:
            yield stored


def _queue(out: str, run_id: str, server: str | None, *, sealed: bool) -> dict[str, Any]:
    """Parts by state, and why some were set aside, where the queue is on this machine and still of use."""
    with known_queue(out, run_id, server) as queue:
        if sealed or queue is None:
            return {"queue": None, "set_aside": {}}
        reasons = {str(part.part_id): reason for part, reason in queue.buried().items()}
        return {"queue": asdict(queue.counts()), "set_aside": reasons}
