"""What a run has done so far, read from its output folder only: works while it runs and after it died."""

from collections import Counter
from typing import Any

from autosteer_core.commit import SUCCESS, committed
from autosteer_core.run import read_record
from infra.open_store import open_store
from pipelines.queue_files import open_queue, queue_file


def run_status(out: str) -> dict[str, Any]:
    """Rows done and their actions, parts by state, and whether the run is sealed.

    Raises:
        UserMistake: there is no run at `out`.
    """
    store = open_store(out)
    record = read_record(store)
    commits = list(committed(store))
    actions: Counter[str] = Counter()
    for commit in commits:
        actions.update(commit.actions)
    rows = sum(entry[1] for entry in record["files"])
    done = sum(commit.rows for commit in commits)
    sealed = SUCCESS in store.keys(SUCCESS)
    return {
        "run_id": record["run_id"],
        "kind": record["kind"],
        "manifest": record["manifest"],
        "bundle_id": record["bundle_id"],
        "rows": rows,
        "rows_done": done,
        "parts_committed": len(commits),
        "actions": dict(sorted(actions.items())),
        "state": "finished" if sealed else "unfinished",
        "queue": None if sealed else _queue(out, record["run_id"]),
    }


def _queue(out: str, run_id: str) -> dict[str, int] | None:
    """Parts by state, where the queue's file is on this machine."""
    path = queue_file(out, run_id)
    if not path.exists():
        return None
    queue = open_queue(path, max_failures=1)
    try:
        counts = queue.counts()
    finally:
        queue.close()
    return {"ready": counts.ready, "leased": counts.leased, "done": counts.done, "buried": counts.buried}
