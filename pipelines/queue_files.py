"""Where a run's queue lives, in a file of its own or in a server's table, and how it is opened."""

import hashlib
import platform
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from autosteer_core.errors import UserMistake
from autosteer_core.ports import GroupedQueue
from infra.queue_disk import require_local_disk
from infra.sqlite_queue import SqliteQueue
from infra.system_clock import SystemClock
from workers.state_folder import state_folder


def queue_file(out: str, run_id: str) -> Path:
    """Where the run's queue lives: in the output folder, or in the user's state folder for a remote output.

    SQLite needs a local disk; losing the file loses no work, it is rebuilt from the commit records.
    """
    if "://" not in out:
        return Path(out) / ".queue" / f"{run_id}.sqlite"
    return state_folder() / f"{run_id}.sqlite"


def queue_name(out: str, run_id: str) -> str:
    """What the run's queue is called on a server: the same run into another output is another queue.

    A folder belongs to its machine: the same path elsewhere holds other commits.
    """
    where = out.rstrip("/") if "://" in out else f"{platform.node()}:{Path(out).resolve()}"
    return f"{run_id}-{hashlib.sha256(where.encode()).hexdigest()[:16]}"


@contextmanager
def known_queue(out: str, run_id: str, server: str | None) -> Iterator[GroupedQueue | None]:
    """The run's queue on the `server`, or in its file on this machine; None where it has none."""
    if server is None and not queue_file(out, run_id).exists():
        yield None
        return
    with closing(open_queue(out, run_id, server=server)) as queue:
        yield queue


def open_queue(out: str, run_id: str, max_failures: int = 5, server: str | None = None) -> GroupedQueue:
    """The run's queue, on the `server` or in its file; the file's folder is made when it is missing.

    Raises:
        UserMistake: no address of a server, no driver for it, or a file that is no queue.
    """
    if server is not None:
        return _on_server(server, queue_name(out, run_id), max_failures)
    path = queue_file(out, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    require_local_disk(path)
    return SqliteQueue(path, SystemClock(), max_failures)


def require_queue(server: str | None) -> None:
    """Ask the server, where one is named, before anything else is started; its errors are those of a queue."""
    if server is not None:
        with closing(_on_server(server, "", 1)) as queue:
            queue.counts()


def _on_server(server: str, name: str, max_failures: int) -> GroupedQueue:
    # The address is not repeated: it may hold a password.
    if not server.startswith(("postgresql://", "postgres://")):
        raise UserMistake(
            "setting `queue` names no server: expected postgresql://user@host:5432/database, or nothing"
        )
    try:
        from infra.postgres_queue import PostgresQueue
    except ImportError as error:
        raise UserMistake("a queue on PostgreSQL needs psycopg: pip install 'autosteer[postgres]'") from error
    return PostgresQueue(server, name, max_failures=max_failures)
