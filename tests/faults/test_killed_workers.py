"""Workers die and freeze at random, and still every row is visible once; `make chaos` does it at full size."""

import json
import random
from collections import Counter
from pathlib import Path

import apsw
import pytest

from autosteer_core.values import Part, PartId
from infra.folder_store import FolderStore
from infra.sqlite_queue import SqliteQueue
from tests.chaos.herd import Herd, Seen, harass, read_as_a_stranger
from tests.chaos.worker_process import Site
from tests.doubles import FakeClock


@pytest.mark.timeout(120)
def test_killed_and_frozen_workers_lose_and_double_no_row(tmp_path: Path) -> None:
    herd = Herd(Site(tmp_path, rows=1_000, lease_seconds=1.0))
    herd.site.queue().add(herd.site.parts())

    try:
        harass(herd, random.Random(11), kills=10, zombies=3)
        herd.end()
    finally:
        herd.stop()

    assert read_as_a_stranger(herd.site) == Seen(lost=0, duplicated=0, unexpected=0)


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
    queue.add([Part(PartId("part-000"), "manifest", 0, 10)])
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
