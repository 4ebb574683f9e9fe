"""Leftovers of killed workers go, and nothing that anybody could still need."""

import os
import time
from pathlib import Path

import pytest

from autosteer_core.commit import commit_part
from autosteer_core.garbage import collect, garbage
from autosteer_core.records import NotConserved
from autosteer_core.values import Action, Lease, Part, PartId, Verdict
from infra.folder_store import FolderStore

PART = Part(PartId("p"), "f", 0, 1)
HOUR = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A committed part, an attempt that lost, and a write that was cut off."""
    made = FolderStore(tmp_path)
    commit_part(made, Lease(PART, 2, "w", 0.0), [Verdict("a", 0, Action.ANSWER, 0.1)], b"rows")
    made.put_if_absent("parts/p.1-dead.parquet", b"rows")
    (tmp_path / ".tmp" / "half").write_bytes(b"ro")
    return made


def test_an_attempt_that_lost_leaves_neither_its_rows_nor_its_activations(store: FolderStore) -> None:
    late = commit_part(store, Lease(PART, 3, "w", 0.0), [Verdict("a", 0, Action.ANSWER, 0.1)], b"rows", b"read")

    assert not late
    assert list(store.keys("activations/")) == []


def test_activations_that_no_record_names_are_leftovers(store: FolderStore, tmp_path: Path) -> None:
    other = Part(PartId("q"), "f", 1, 2)
    commit_part(store, Lease(other, 1, "w", 0.0), [Verdict("b", 1, Action.ANSWER, 0.1)], b"rows", b"read")
    store.put("activations/q.1-dead.parquet", b"read")
    grow_old(tmp_path)

    assert sorted(garbage(store, HOUR)) == ["activations/q.1-dead.parquet", "parts/p.1-dead.parquet"]


def grow_old(root: Path) -> None:
    for file in root.rglob("*"):
        os.utime(file, (time.time() - 2 * HOUR,) * 2)


def test_old_leftovers_go_and_what_is_committed_stays(store: FolderStore, tmp_path: Path) -> None:
    grow_old(tmp_path)

    assert list(garbage(store, HOUR)) == ["parts/p.1-dead.parquet"]
    assert collect(store, HOUR) == 2
    assert collect(store, HOUR) == 0
    assert len(list(store.keys("parts/"))) == 1
    assert not list((tmp_path / ".tmp").iterdir())


def test_young_leftovers_stay_because_their_worker_may_be_alive(store: FolderStore) -> None:
    assert collect(store, HOUR) == 0
    assert len(list(store.keys("parts/"))) == 2


def test_nothing_goes_while_a_record_cannot_be_read(store: FolderStore, tmp_path: Path) -> None:
    store.put("commits/p.json", b"{")
    grow_old(tmp_path)
    with pytest.raises(NotConserved, match="commits/p.json is damaged"):
        collect(store, HOUR)
    assert len(list(store.keys("parts/"))) == 2
