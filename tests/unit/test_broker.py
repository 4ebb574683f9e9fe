"""What the queue's owner knows of the parts that each worker holds."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from autosteer_core.errors import LeaseLost, Unreachable, UserMistake
from autosteer_core.ports import GroupedQueue
from autosteer_core.values import Lease, Part, PartId, QueueCounts
from infra.memory_queue import MemoryQueue
from infra.postgres_queue import PostgresQueue
from infra.sqlite_queue import SqliteQueue
from tests.doubles import FakeClock
from workers.broker import Broker

PARTS = [Part(PartId(f"p{start}"), "f", start, start + 1) for start in range(4)]


def test_all_parts_of_a_dead_worker_are_given_back_and_no_others() -> None:
    broker = Broker(lambda: MemoryQueue(FakeClock()))
    broker.call("add", PARTS)
    broker.call("claim", "dead", 30.0, 3)
    broker.call("claim", "alive", 30.0)

    broker.forfeit("dead", "died")

    assert broker.call("counts") == QueueCounts(ready=3, leased=1)


def test_a_worker_is_overdue_with_any_part_but_not_with_one_that_it_lost() -> None:
    clock = FakeClock()
    broker = Broker(lambda: MemoryQueue(clock), clock.now)
    broker.call("add", PARTS)
    first, second = broker.call("claim", "slow", 30.0, 2)
    clock.advance(20)
    broker.call("renew", second, 30.0)
    clock.advance(15)
    assert broker.overdue(clock.now()) == ["slow"]

    (taken,) = broker.call("claim", "fast", 30.0)

    assert taken.part == first.part
    assert broker.overdue(clock.now()) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_calls_that_wait_together_share_one_commit_and_none_is_spoiled_by_another(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    queue, broker = counting(kind, tmp_path, request)
    broker.call("add", PARTS)
    first, second, third = broker.call("claim", "ann", 30.0, 3)
    broker.call("complete", third)
    before = queue.commits

    answers = at_once(
        broker,
        ("complete", first),
        ("complete", third),  # its lease is void
        ("claims", "nowhere"),
        ("split", second, [replace(PARTS[0], stop=99)]),  # refused after its first change
        ("renew", second, 30.0),
    )

    assert queue.commits == before + 1
    assert [type(answer) for answer in answers] == [type(None), LeaseLost, KeyError, UserMistake, Lease]
    assert broker.call("counts") == QueueCounts(ready=1, leased=1, done=2)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_commit_that_fails_is_told_to_all_who_waited_for_it(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    queue, broker = counting(kind, tmp_path, request)
    broker.call("add", PARTS)
    leases = broker.call("claim", "ann", 30.0, 2)

    queue.fail = Unreachable("the disk is gone")
    answers = at_once(broker, *[("complete", lease) for lease in leases])
    assert answers == [queue.fail] * 2
    queue.fail = None

    assert broker.call("counts") == QueueCounts(ready=2, leased=2)
    broker.forfeit("ann", "died")
    assert broker.call("counts") == QueueCounts(ready=4)


def test_a_server_that_cuts_the_connection_fails_the_whole_group_and_the_next_one_succeeds(
    postgres_address: str,
) -> None:
    queue = PostgresQueue(postgres_address, uuid4().hex)
    broker = Broker(lambda: queue)
    broker.call("add", PARTS)
    leases = broker.call("claim", "ann", 30.0, 2)
    with queue._link.session() as db, psycopg.connect(postgres_address, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (db.info.backend_pid,))

    calls = [("complete", lease) for lease in leases]
    assert [type(answer) for answer in at_once(broker, *calls)] == [Unreachable] * 2
    assert at_once(broker, *calls) == [None] * 2
    queue.close()


class _Counting:
    """A queue that counts its commits, and can fail before the next one."""

    def __init__(self, queue: GroupedQueue) -> None:
        self._queue = queue
        self._depth = self.commits = 0
        self.fail: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    @contextmanager
    def together(self) -> Iterator[None]:
        self._depth += 1
        try:
            with self._queue.together():
                yield
                if self._depth == 1 and self.fail:
                    raise self.fail
        finally:
            self._depth -= 1
        self.commits += self._depth == 0


def counting(kind: str, folder: Path, request: pytest.FixtureRequest) -> tuple[Any, Broker]:
    made: Any = SqliteQueue(folder / "queue.db", FakeClock())
    if kind == "postgres":
        made = PostgresQueue(request.getfixturevalue("postgres_address"), uuid4().hex, FakeClock())
    request.addfinalizer(made.close)
    queue = _Counting(made)
    return queue, Broker(lambda: queue)


def at_once(broker: Broker, *calls: tuple[Any, ...]) -> list[Any]:
    """What calls are answered, or their errors, that came while the broker was busy."""
    with ThreadPoolExecutor(len(calls)) as callers, broker._turn:
        answers = []
        for number, call in enumerate(calls, 1):
            answers.append(callers.submit(broker.call, *call))
            while len(broker._waiting) < number:
                time.sleep(0.001)
    return [answer.exception() or answer.result() for answer in answers]
