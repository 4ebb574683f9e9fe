"""A part queue in one SQLite file, for one machine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from autosteer_core.errors import LeaseLost, Unreachable
from autosteer_core.ports import Clock
from autosteer_core.values import Cause, Lease, Part, PartId, QueueCounts
from infra.part_conflict import conflicting_part
from infra.sqlite_file import open_queue_file, plain_errors
from infra.storable_text import storable

# Every write after `claim` carries this fence. The worker is part of it because tokens start again at 1
# when a lost queue is rebuilt, and a worker of the old queue must not pass for one of the new.
_FENCE = "WHERE part_id = :part_id AND token = :token AND worker = :worker AND state = 'leased'"

_CLAIM = """
UPDATE part SET crash_count = crash_count + (state = 'leased'), state = 'leased', token = token + 1,
    worker = :worker, expires_at = :now + :seconds
WHERE position IN (
    SELECT position FROM part
    WHERE state IN ('ready', 'leased') AND (state = 'ready' OR expires_at <= :now)
    ORDER BY position LIMIT :limit
)
RETURNING position, part_id, source, start, stop, token, expires_at, crash_count
"""

_RELEASE = """
SET fail_count = fail_count + :failed, crash_count = crash_count + :crashed, reason = :reason,
    state = CASE WHEN :failed AND fail_count + 1 >= :max_failures THEN 'buried' ELSE 'ready' END
"""

_REOPEN = "UPDATE part SET state = 'ready', fail_count = 0, crash_count = 0 WHERE part_id = ? AND state = 'buried'"

_INSERT = """
INSERT INTO part (part_id, source, start, stop) VALUES (?, ?, ?, ?) ON CONFLICT (part_id) DO NOTHING
"""


class SqliteQueue:
    """Survives crashes and power loss; any number of processes on one machine, one thread each.

    A process that is frozen in the middle of a write holds up the others until it wakes or dies, so many
    workers are better served by one broker that owns the file.
    """

    def __init__(self, path: Path, clock: Clock, max_failures: int = 5, busy_seconds: float = 30.0) -> None:
        self._path = path
        self._clock = clock
        self._max_failures = max_failures
        self._db = open_queue_file(path, busy_seconds)

    def add(self, parts: Sequence[Part]) -> int:
        with plain_errors(self._path), self._db:
            added = sum(self._insert(part) for part in parts)
        return added

    def mark_done(self, part_ids: Sequence[str]) -> None:
        with plain_errors(self._path), self._db:
            self._db.executemany(
                "UPDATE part SET state = 'done' WHERE part_id = ?", [(part_id,) for part_id in part_ids]
            )

    def claim(self, worker: str, seconds: float, limit: int = 1) -> list[Lease]:
        with plain_errors(self._path), self._db:
            # The clock is read inside the transaction: waiting for the lock must not shorten the lease.
            args: dict[str, str | float] = {
                "worker": worker,
                "seconds": seconds,
                "limit": limit,
                "now": self._clock.now(),
            }
            rows = sorted(self._rows(_CLAIM, args))  # RETURNING promises no order
        return [
            Lease(Part(PartId(part_id), source, start, stop), token, worker, expires_at, crashes)
            for _, part_id, source, start, stop, token, expires_at, crashes in rows
        ]

    def renew(self, lease: Lease, seconds: float) -> Lease:
        expires_at = self._clock.now() + seconds
        self._fenced("SET expires_at = :expires_at", lease, expires_at=expires_at)
        return replace(lease, expires_at=expires_at)

    def complete(self, lease: Lease) -> None:
        self._fenced("SET state = 'done'", lease)

    def split(self, lease: Lease, halves: Sequence[Part]) -> None:
        with plain_errors(self._path), self._db:
            self._change("SET state = 'split'", lease)
            for half in halves:
                self._insert(half)

    def release(self, lease: Lease, reason: str, cause: Cause) -> None:
        counted = {"failed": int(cause is Cause.FAILURE), "crashed": int(cause is Cause.CRASH)}
        self._fenced(_RELEASE, lease, reason=storable(reason), max_failures=self._max_failures, **counted)

    def bury(self, lease: Lease, reason: str) -> None:
        self._fenced("SET state = 'buried', reason = :reason", lease, reason=storable(reason))

    def claims(self, part_id: str) -> int:
        with plain_errors(self._path):
            found = self._rows("SELECT token FROM part WHERE part_id = ?", (part_id,))
        if not found:
            raise KeyError(part_id)
        return int(found[0][0])

    def reopen(self, part_ids: Sequence[str] | None = None) -> int:
        with plain_errors(self._path), self._db:
            chosen = [part.part_id for part in self.buried()] if part_ids is None else part_ids
            reopened = sum(self._reopen(part_id) for part_id in chosen)
        return reopened

    def buried(self) -> dict[Part, str]:
        query = "SELECT part_id, source, start, stop, reason FROM part WHERE state = 'buried' ORDER BY position"
        with plain_errors(self._path):
            return {
                Part(PartId(part_id), source, start, stop): reason
                for part_id, source, start, stop, reason in self._rows(query)
            }

    def counts(self) -> QueueCounts:
        with plain_errors(self._path):
            found = self._rows("SELECT state, count(*) FROM part GROUP BY state")
        return QueueCounts(**dict(found))

    def forget(self) -> None:
        with plain_errors(self._path), self._db:
            self._db.execute("DELETE FROM part")

    @contextmanager
    def together(self) -> Iterator[None]:
        """See GroupedQueue; apsw makes a savepoint of what is a transaction elsewhere."""
        with plain_errors(self._path), self._db:
            yield
            if not self._db.in_transaction:
                raise Unreachable(
                    f"queue database {self._path} undid a group of calls as a whole, for one of them found no space "
                    "or no disk: each is safe to repeat"
                )

    def close(self) -> None:
        self._db.close()

    def _rows(self, query: str, args: dict[str, str | float] | tuple[str, ...] = ()) -> list[Any]:
        """The rows, read to the end: an open cursor would hold on to an old state of the database."""
        return self._db.execute(query, args).fetchall()

    def _insert(self, part: Part) -> int:
        self._db.execute(_INSERT, (part.part_id, part.source, part.start, part.stop))
        if self._db.changes():
            return 1
        query = "SELECT source, start, stop FROM part WHERE part_id = ?"
        source, start, stop = self._rows(query, (part.part_id,))[0]
        known = Part(part.part_id, source, start, stop)
        if known != part:
            raise conflicting_part(known, part)
        return 0

    def _reopen(self, part_id: str) -> int:
        self._db.execute(_REOPEN, (part_id,))
        return self._db.changes()

    def _fenced(self, change: str, lease: Lease, **values: str | float) -> None:
        """A transaction of its own for one change."""
        with plain_errors(self._path), self._db:
            self._change(change, lease, **values)

    def _change(self, change: str, lease: Lease, **values: str | float) -> None:
        """Apply `change` only while the lease gives the right to."""
        fence = {"part_id": lease.part.part_id, "token": lease.token, "worker": lease.worker}
        self._db.execute(f"UPDATE part {change} {_FENCE}", {**fence, **values})
        if not self._db.changes():
            raise LeaseLost(self._why_void(lease))

    def _why_void(self, lease: Lease) -> str:
        part_id = lease.part.part_id
        found = self._rows("SELECT state, token FROM part WHERE part_id = ?", (part_id,))
        if not found:
            return f"part {part_id} is not in this queue"
        state, token = found[0]
        return f"lease {lease.token} of part {part_id} is void: the part is {state} at lease {token}"
