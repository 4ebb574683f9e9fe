"""Where a run's embedded queue lives, and how it is opened."""

import os
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


def open_queue(path: Path, max_failures: int) -> SqliteQueue:
    """The embedded queue; its folder is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return SqliteQueue(path, SystemClock(), max_failures)
