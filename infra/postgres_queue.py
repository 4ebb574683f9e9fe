"""A part queue in a PostgreSQL table, for workers on many machines."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

from autosteer_core.errors import LeaseLost
from autosteer_core.ports import Clock
from autosteer_core.values import Cause, Lease, Part, PartId, QueueCounts
from infra.part_conflict import conflicting_part
from infra.postgres_link import Connection, PostgresLink
from infra.storable_text import storable

_GROUP = 10_000  # parts that one statement adds

# The server's clock, unless the queue was given one: machines do not agree on the time.
_NOW = "coalesce(%(now)s::float8, extract(epoch FROM clock_timestamp())::float8)"

# As in SqliteQueue. A write that waited for another claim of the row looks at it again, and finds the fence shut.
_FENCE = """
WHERE queue = %(queue)s AND part_id = %(part_id)s AND token = %(token)s AND worker = %(worker)s AND state = 'leased'
"""

# Rows that another claim holds are passed over, not waited for: nobody stands in line, and none is given twice.
_CLAIM = f"""
WITH clock AS MATERIALIZED (SELECT {_NOW} AS now),
free AS MATERIALIZED (
    SELECT part_id FROM autosteer_part
    WHERE queue = %(queue)s AND state IN ('ready', 'leased')
        AND (state = 'ready' OR expires_at <= (SELECT now FROM clock))
    ORDER BY position LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE autosteer_part part SET crash_count = crash_count + (state = 'leased')::int, state = 'leased',
    token = token + 1, worker = %(worker)s, expires_at = clock.now + %(seconds)s::float8
FROM free, clock
WHERE part.queue = %(queue)s AND part.part_id = free.part_id
RETURNING position, part.part_id, source, start, stop, token, expires_at, crash_count
"""

_RENEW = f"SET expires_at = {_NOW} + %(seconds)s::float8"

_RELEASE = """
SET fail_count = fail_count + %(failed)s::int, crash_count = crash_count + %(crashed)s::int, reason = %(reason)s,
    state = CASE WHEN %(failed)s::int > 0 AND fail_count + 1 >= %(max_failures)s THEN 'buried' ELSE 'ready' END
"""

_REOPEN = """
UPDATE autosteer_part SET state = 'ready', fail_count = 0, crash_count = 0
WHERE queue = %(queue)s AND state = 'buried' AND (%(ids)s::text[] IS NULL OR part_id = ANY(%(ids)s))
"""

_GIVEN = """
unnest(%(ids)s::text[], %(sources)s::text[], %(starts)s::bigint[], %(stops)s::bigint[])
    WITH ORDINALITY AS given (part_id, source, start, stop, place)
"""

_INSERT = f"""
INSERT INTO autosteer_part (queue, part_id, source, start, stop)
SELECT %(queue)s, part_id, source, start, stop FROM {_GIVEN} ORDER BY place
ON CONFLICT (queue, part_id) DO NOTHING
"""

_CONFLICTS = f"""
SELECT given.part_id, known.source, known.start, known.stop, given.source, given.start, given.stop
FROM {_GIVEN} JOIN autosteer_part known ON known.queue = %(queue)s AND known.part_id = given.part_id
WHERE (known.source, known.start, known.stop) <> (given.source, given.start, given.stop) ORDER BY place LIMIT 1
"""

_BURIED = """
SELECT part_id, source, start, stop, reason FROM autosteer_part
WHERE queue = %(queue)s AND state = 'buried' ORDER BY position
"""


class PostgresQueue:
    """One of many queues in a table, by `name`; any number of processes on any number of machines, one thread each.

    A call that raises Unreachable may have been done or not, and is safe to repeat; a claim of which nobody heard
    ends with its lease. The server is first asked by the first call. Without a `clock` the server's own decides when
    a lease ends.
    """

    def __init__(self, address: str, name: str, clock: Clock | None = None, max_failures: int = 5) -> None:
        self._link = PostgresLink(address)
        self._name = name
        self._clock = clock
        self._max_failures = max_failures

    def add(self, parts: Sequence[Part]) -> int:
        left = iter(parts)
        with self._link.session() as db, db.transaction():
            return sum(self._insert(db, group) for group in iter(lambda: list(islice(left, _GROUP)), []))

    def mark_done(self, part_ids: Sequence[str]) -> None:
        query = "UPDATE autosteer_part SET state = 'done' WHERE queue = %(queue)s AND part_id = ANY(%(ids)s)"
        self._rows(query, ids=list(part_ids))

    def claim(self, worker: str, seconds: float, limit: int = 1) -> list[Lease]:
        rows = sorted(self._rows(_CLAIM, worker=worker, seconds=seconds, limit=limit))  # RETURNING promises no order
        return [
            Lease(Part(PartId(part_id), source, start, stop), token, worker, expires_at, crashes)
            for _, part_id, source, start, stop, token, expires_at, crashes in rows
        ]

    def renew(self, lease: Lease, seconds: float) -> Lease:
        return replace(lease, expires_at=self._fenced(_RENEW, lease, seconds=seconds))

    def complete(self, lease: Lease) -> None:
        self._fenced("SET state = 'done'", lease)

    def split(self, lease: Lease, halves: Sequence[Part]) -> None:
        with self._link.session() as db, db.transaction():
            self._change(db, "SET state = 'split'", lease)
            self._insert(db, halves)

    def release(self, lease: Lease, reason: str, cause: Cause) -> None:
        counted = {"failed": int(cause is Cause.FAILURE), "crashed": int(cause is Cause.CRASH)}
        self._fenced(_RELEASE, lease, reason=storable(reason), max_failures=self._max_failures, **counted)

    def bury(self, lease: Lease, reason: str) -> None:
        self._fenced("SET state = 'buried', reason = %(reason)s", lease, reason=storable(reason))

    def reopen(self, part_ids: Sequence[str] | None = None) -> int:
        return len(self._rows(_REOPEN + "RETURNING 1", ids=None if part_ids is None else list(part_ids)))

    def buried(self) -> dict[Part, str]:
        return {
            Part(PartId(part_id), source, start, stop): reason
            for part_id, source, start, stop, reason in self._rows(_BURIED)
        }

    def claims(self, part_id: str) -> int:
        query = "SELECT token FROM autosteer_part WHERE queue = %(queue)s AND part_id = %(part_id)s"
        found = self._rows(query, part_id=part_id)
        if not found:
            raise KeyError(part_id)
        return int(found[0][0])

    def counts(self) -> QueueCounts:
        query = "SELECT state, count(*) FROM autosteer_part WHERE queue = %(queue)s GROUP BY state"
        return QueueCounts(**dict(self._rows(query)))

    def forget(self) -> None:
        self._rows("DELETE FROM autosteer_part WHERE queue = %(queue)s")

    @contextmanager
    def together(self) -> Iterator[None]:
        """See GroupedQueue; psycopg makes a savepoint of what is a transaction elsewhere."""
        with self._link.session() as db, db.transaction():
            yield

    def close(self) -> None:
        self._link.close()

    def _rows(self, query: str, **values: Any) -> list[Any]:
        """A transaction of its own for one statement."""
        with self._link.session() as db:
            return _fetched(db, query, self._known(values))

    def _known(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"queue": self._name, "now": self._clock.now() if self._clock else None, **values}

    def _insert(self, db: Connection, parts: Sequence[Part]) -> int:
        given = self._known(
            {
                "ids": [str(part.part_id) for part in parts],
                "sources": [part.source for part in parts],
                "starts": [part.start for part in parts],
                "stops": [part.stop for part in parts],
            }
        )
        added = db.execute(_INSERT, given).rowcount
        for part_id, *rows in _fetched(db, _CONFLICTS, given):
            raise conflicting_part(Part(part_id, *rows[:3]), Part(part_id, *rows[3:]))
        return added

    def _fenced(self, change: str, lease: Lease, **values: Any) -> float:
        """When the lease would end; a transaction of its own for one change."""
        with self._link.session() as db:
            return self._change(db, change, lease, **values)

    def _change(self, db: Connection, change: str, lease: Lease, **values: Any) -> float:
        """Apply `change` only while the lease gives the right to."""
        fence = {"part_id": lease.part.part_id, "token": lease.token, "worker": lease.worker}
        changed = _fetched(
            db, f"UPDATE autosteer_part {change} {_FENCE} RETURNING expires_at", self._known({**fence, **values})
        )
        if not changed:
            raise LeaseLost(self._why_void(db, lease))
        return float(changed[0][0])

    def _why_void(self, db: Connection, lease: Lease) -> str:
        part_id = lease.part.part_id
        query = "SELECT state, token FROM autosteer_part WHERE queue = %(queue)s AND part_id = %(part_id)s"
        found = _fetched(db, query, self._known({"part_id": part_id}))
        if not found:
            return f"part {part_id} is not in this queue"
        state, token = found[0]
        return f"lease {lease.token} of part {part_id} is void: the part is {state} at lease {token}"


def _fetched(db: Connection, query: str, values: dict[str, Any]) -> list[Any]:
    cursor = db.execute(query, values)
    return cursor.fetchall() if cursor.description else []
