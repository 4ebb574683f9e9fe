"""Where a run's embedded queue lives, and how it is opened."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.sqlite_queue import SqliteQueue
from infra.system_clock import SystemClock


def queue_file(out: str, run_id: str) -> Path:
    """Where the run's queue lives: in the output folder, or in the user's state folder for a remote output.

    SQLite needs a local disk; losing the file loses no work, it is rebuilt from the commit records.
    """
    if "://" not in out:
        return Path(out) / ".queue" / f"{run_id}.sqlite"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "autosteer" / f"{run_id}.sqlite"


@contextmanager
def known_queue(out: str, run_id: str) -> Iterator[SqliteQueue | None]:
    """The run's queue where this machine has it, None elsewhere."""
    path = queue_file(out, run_id)
    if not path.exists():
        yield None
        return
    queue = SqliteQueue(path, SystemClock())
    try:
        yield queue
    finally:
        queue.close()


def open_queue(path: Path, max_failures: int) -> SqliteQueue:
    """The embedded queue; its folder is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return SqliteQueue(path, SystemClock(), max_failures)
