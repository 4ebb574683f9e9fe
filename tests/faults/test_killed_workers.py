"""Workers die and freeze at random, and still every part is committed exactly once."""

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import apsw
import pytest

from autosteer_core.values import Part, PartId, QueueCounts
from infra.folder_store import FolderStore
from infra.sqlite_queue import SqliteQueue
from infra.system_clock import SystemClock
from tests.doubles import FakeClock

PARTS = [Part(PartId(f"part-{number:03}"), "manifest", 10 * number, 10 * number + 10) for number in range(200)]
WORKERS = 3
LEASE_SECONDS = 0.3

# The order of a real worker: the rows under a name of their own, the commit, the queue.
WORKER = f"""
import json, os, sys
from pathlib import Path
from autosteer_core.errors import LeaseLost
from infra.folder_store import FolderStore
from infra.sqlite_queue import SqliteQueue
from infra.system_clock import SystemClock

name, folder = f"worker-{{os.getpid()}}", Path(sys.argv[1])
queue, store = SqliteQueue(folder / "queue.db", SystemClock()), FolderStore(folder / "store")
while queue.counts().unfinished:
    for lease in queue.claim(name, {LEASE_SECONDS}, limit=4):
        part = lease.part
        rows = f"rows/{{part.part_id}}.{{lease.token}}.{{name}}"
        store.put_if_absent(rows, json.dumps(list(range(part.start, part.stop))).encode())
        store.put_if_absent(f"commits/{{part.part_id}}", rows.encode())
        try:
            queue.complete(lease)
        except LeaseLost:
            print("lost", flush=True)
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WORKER, str(folder)]
    return subprocess.Popen(command, stdout=(folder / "log").open("ab"), stderr=(folder / "errors").open("ab"))


def harass(folder: Path, queue: SqliteQueue, luck: random.Random) -> int:
    """Kill, freeze and replace workers until the queue is empty; returns how many were hit."""
    workers = [start(folder) for _ in range(WORKERS)]
    frozen: list[subprocess.Popen[bytes]] = []
    hits = 0
    while queue.counts().unfinished:
        victim = luck.randrange(WORKERS)
        try:
            workers[victim].wait(luck.uniform(0.08, 0.2))
        except subprocess.TimeoutExpired:
            hits += 1
            if luck.random() < 0.3:
                workers[victim].send_signal(signal.SIGSTOP)
                frozen.append(workers[victim])
            else:
                workers[victim].send_signal(signal.SIGKILL)
        workers[victim] = start(folder)
        # Those frozen for longer than their leases wake and try to finish. Nobody may sleep for good: one
        # that was frozen in the middle of a transaction holds the lock that all others wait for.
        wake(frozen[: -int(LEASE_SECONDS / 0.08)])
    wake(frozen)
    assert [worker.wait(20) for worker in workers + frozen] == [0] * (WORKERS + len(frozen))
    return hits


def wake(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.send_signal(signal.SIGCONT)


@pytest.mark.timeout(60)
def test_every_part_is_committed_exactly_once(tmp_path: Path) -> None:
    queue, store = SqliteQueue(tmp_path / "queue.db", SystemClock()), FolderStore(tmp_path / "store")
    queue.add(PARTS)

    hits = harass(tmp_path, queue, random.Random(11))

    assert (tmp_path / "errors").read_text() == ""
    assert hits > 0
    assert queue.counts() == QueueCounts(done=len(PARTS))
    assert list(store.keys("commits/")) == [f"commits/{part.part_id}" for part in PARTS]
    assert committed_rows(store) == Counter(range(10 * len(PARTS)))
    assert listed_rows(store) != committed_rows(store), "no worker was hit between its rows and its commit"


def committed_rows(store: FolderStore) -> Counter[int]:
    """What a reader sees who follows the commits."""
    committed = [store.get(commit).decode() for commit in store.keys("commits/")]
    return Counter(row for rows in committed for row in json.loads(store.get(rows)))


def listed_rows(store: FolderStore) -> Counter[int]:
    """What a reader sees who lists the files: the mistake that the commits are there to prevent."""
    return Counter(row for rows in store.keys("rows/") for row in json.loads(store.get(rows)))


def test_without_fences_and_commits_a_woken_worker_duplicates_rows(tmp_path: Path) -> None:
    clock = FakeClock()
    queue, store = SqliteQueue(tmp_path / "queue.db", clock), FolderStore(tmp_path / "store")
    queue.add(PARTS[:1])
    (slow,) = queue.claim("slow", seconds=30)
    clock.advance(31)
    (fast,) = queue.claim("fast", seconds=30)
    for lease in (fast, slow):
        rows = f"rows/part-000.{lease.token}"
        store.put_if_absent(rows, json.dumps(list(range(10))).encode())
        store.put_if_absent("commits/part-000", rows.encode())

    database = apsw.Connection(str(tmp_path / "queue.db"))
    for _ in (fast, slow):
        database.execute("UPDATE part SET state = 'done' WHERE part_id = 'part-000'")
        assert database.changes() == 1  # without the fence both believe that they finished the part
    assert set(listed_rows(store).values()) == {2}
    assert set(committed_rows(store).values()) == {1}
