"""The control plane: rows/s that the queue hands out and takes back, and how idle 64 workers leave its owner."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import ray

from autosteer_core.ports import GroupedQueue, PartQueue
from autosteer_core.values import Part, PartId
from infra.postgres_queue import PostgresQueue
from infra.sqlite_queue import SqliteQueue
from infra.system_clock import SystemClock
from tests.bench.record import record
from workers.broker import Broker, BrokeredQueue
from workers.local_ray import local_ray

ROWS, PARTS, GROUP = 64, 3_000, 64
WORKERS, SECONDS, PART_SECONDS = 64, 20.0, 1.0


def parts(count: int) -> list[Part]:
    return [
        Part(PartId(f"part-{number:06}"), "manifest.parquet", ROWS * number, ROWS * (number + 1))
        for number in range(count)
    ]


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Callable[[], GroupedQueue]]:
    """A queue's name, and how to open it."""
    if request.param == "sqlite":
        return "SQLite", partial(SqliteQueue, tmp_path / "queue.db", SystemClock())
    return "PostgreSQL", partial(PostgresQueue, request.getfixturevalue("postgres_address"), uuid4().hex)


@pytest.mark.parametrize("grouped", [False, True], ids=["one by one", "in groups"])
def test_rows_claimed_and_completed(opened: tuple[str, Callable[[], GroupedQueue]], grouped: bool) -> None:
    name, open_queue = opened
    queue = open_queue()
    queue.add(parts(PARTS))
    begun = time.perf_counter()
    while leases := queue.claim("worker", 300, GROUP):
        with queue.together() if grouped else nullcontext():
            for lease in leases:
                queue.complete(lease)
    seconds = time.perf_counter() - begun
    assert queue.counts().done == PARTS
    record(
        f"queue, {name}: rows/s claimed and completed {'in groups' if grouped else 'one by one'}",
        PARTS * ROWS / seconds,
        f"parts of {ROWS} rows, claimed by {GROUP} and completed durably; goal 20,000 in groups on SQLite",
    )


class TimedBroker(Broker):
    """Knows for how long it was at work."""

    busy = 0.0

    def _serve(self, calls: Sequence[Any]) -> None:
        begun = time.perf_counter()
        super()._serve(calls)
        self.busy += time.perf_counter() - begun

    def seconds_at_work(self) -> float:
        return self.busy


def work(queue: PartQueue, name: str, until: float) -> None:
    """One worker whose model takes a second for a part."""
    while time.monotonic() < until:
        for lease in queue.claim(name, 300):
            time.sleep(PART_SECONDS)
            queue.complete(queue.renew(lease, 300))


def test_how_idle_the_queues_owner_is(opened: tuple[str, Callable[[], GroupedQueue]]) -> None:
    name, open_queue = opened
    with local_ray(2):
        broker = ray.remote(num_cpus=0, max_concurrency=128)(TimedBroker).remote(open_queue)
        queue = BrokeredQueue(broker)
        queue.add(parts(PARTS))
        before, begun = ray.get(broker.seconds_at_work.remote()), time.monotonic()
        workers = [
            threading.Thread(target=work, args=(queue, f"worker-{number}", begun + SECONDS))
            for number in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        took = time.monotonic() - begun
        busy = ray.get(broker.seconds_at_work.remote()) - before
        done = queue.counts().done
        ray.kill(broker)
    record(
        f"queue, {name}: idle share of its owner",
        1 - busy / took,
        f"{WORKERS} workers, {PART_SECONDS:g} s a part, claim + renew + complete each; goal 0.9; "
        f"{done / took:.0f} parts/s of {WORKERS}",
    )
