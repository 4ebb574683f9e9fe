"""Each guard switched off alone: the simulation, or a reader, must notice, or their silence proves nothing."""

import math
import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

import autosteer_core.commit
import infra.folder_store
import workers.loop
from autosteer_core.commit import SUCCESS, commit_part, read_part, seal
from autosteer_core.records import NotConserved, read_records
from autosteer_core.row_ids import RowIds
from autosteer_core.values import Action, Lease, Part, PartId, Verdict
from autosteer_core.verdict_stages import gated
from infra.folder_store import FolderStore
from infra.memory_queue import MemoryQueue
from infra.memory_store import MemoryStore
from tests.chaos.simulation import Broken, Mortal, Parts, World
from tests.tiny_items import mixed_items

pytestmark = pytest.mark.chaos

SCHEDULES = 400
BUSY = Parts(faults=12, lost_queues=2)


def noticed(made_of: Parts) -> str:
    """What the first schedule that fails says."""
    for seed in range(SCHEDULES):
        try:
            World(seed, made_of).run()
        except Broken as broken:
            return str(broken).splitlines()[0]
    raise AssertionError(f"{SCHEDULES} schedules did not notice that the guard is off")


class NoFence(MemoryQueue):
    def _fenced(self, lease: Lease) -> Any:
        return self._entries[lease.part.part_id]


class FenceWithoutName(MemoryQueue):
    def _fenced(self, lease: Lease) -> Any:
        entry = self._entries.get(lease.part.part_id)
        return super()._fenced(replace(lease, worker=entry.worker) if entry else lease)


class NoCrashes(MemoryQueue):
    """An expired lease is no crash, and neither is a death that is told of."""

    def claim(self, worker: str, seconds: float, limit: int = 1) -> list[Lease]:
        return [replace(lease, crashes=0) for lease in super().claim(worker, seconds, limit)]


class LastWriterWins(MemoryStore):
    def put_if_absent(self, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True


class CompletesFirst(Mortal):
    def _commit(self, lease: Lease, verdicts: Sequence[Verdict], shift: Any) -> None:
        self._complete(lease, shift)
        commit_part(self.store, lease, verdicts, self.encode(verdicts, lease))


class TrustsItsAttempt(Mortal):
    """Does not ask what became of a part whose commit was refused."""

    def _commit(self, lease: Lease, verdicts: Sequence[Verdict], shift: Any) -> None:
        self.queue.renew(lease, self.lifeline.seconds)
        commit_part(self.store, lease, verdicts, self.encode(verdicts, lease))
        self._complete(lease, shift)


def test_with_every_guard_on_nothing_is_noticed() -> None:
    with pytest.raises(AssertionError, match="did not notice"):
        noticed(BUSY)


def test_without_the_fence_a_void_lease_is_accepted() -> None:
    assert "accepted under the void lease" in noticed(replace(BUSY, queue=NoFence))


def test_without_the_workers_name_in_the_fence_a_worker_of_a_lost_queue_is_accepted() -> None:
    assert "accepted under the void lease" in noticed(replace(BUSY, queue=FenceWithoutName))


def test_without_counted_crashes_a_poisonous_row_kills_for_ever() -> None:
    assert "it does not end" in noticed(replace(BUSY, queue=NoCrashes))


def test_without_put_if_absent_a_decision_is_written_twice() -> None:
    assert "was written twice" in noticed(replace(BUSY, store=LastWriterWins))


def test_completing_before_the_commit_leaves_a_done_part_without_rows() -> None:
    assert "nothing is decided in the store" in noticed(replace(BUSY, worker=CompletesFirst))


def test_without_asking_who_won_a_part_that_was_halved_is_done_without_its_halves() -> None:
    assert "is missing" in noticed(replace(BUSY, worker=TrustsItsAttempt, faults=30))


def test_without_a_name_of_its_own_an_attempt_spoils_the_file_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    class Always:
        hex = "always the same"

    monkeypatch.setattr(autosteer_core.commit.uuid, "uuid4", Always)
    store, part = MemoryStore(), Part(PartId("p"), "f", 0, 1)
    for worker in ("first", "second"):  # both of a first lease: the queue was lost in between
        commit_part(store, Lease(part, 1, worker, 0.0), [Verdict("a", 0, Action.ANSWER, 0.1)], worker.encode())
    with pytest.raises(NotConserved, match="is gone"):
        read_part(store, read_records(store).current[0])


def test_without_the_split_in_the_commits_slot_rows_are_committed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def unrecorded(store: Any, lease: Lease, reason: str) -> list[Part]:
        return list(lease.part.halves())

    monkeypatch.setattr(workers.loop, "split_part", unrecorded)
    assert noticed(BUSY)


def test_without_the_count_of_rows_a_part_that_lacks_one_is_committed_and_the_seal_notices() -> None:
    part, store, short = Part(PartId("p"), "f", 0, 2), MemoryStore(), [Verdict("a", 0, Action.ANSWER, 0.1)]
    with pytest.raises(NotConserved, match="1 verdicts came"):
        commit_part(store, Lease(part, 1, "w", 0.0), short, b"one row")
    unchecked = replace(part, stop=1)
    commit_part(store, Lease(unchecked, 1, "w", 0.0), short, b"one row")
    with pytest.raises(NotConserved, match="rows 0 to 2 of f, its commit record says 1"):
        seal(store, [part], RowIds(2, 0))


def test_without_the_ids_a_row_of_another_item_is_sealed() -> None:
    part, store = Part(PartId("p"), "f", 0, 1), MemoryStore()
    commit_part(store, Lease(part, 1, "w", 0.0), [Verdict("another", 0, Action.ANSWER, 0.1)], b"rows")
    with pytest.raises(NotConserved, match="the manifest changed"):
        seal(store, [part], RowIds.of("f", [(0, "asked")]))
    unguarded = RowIds.of("f", [(0, "another")])  # what a seal that compares nothing would take for granted
    seal(store, [part], unguarded)
    assert SUCCESS in store.keys()


def test_without_the_digest_a_changed_part_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    part, store = Part(PartId("p"), "f", 0, 1), MemoryStore()
    commit_part(store, Lease(part, 1, "w", 0.0), [Verdict("a", 0, Action.ANSWER, 0.1)], b"rows")
    record = read_records(store).current[0]
    store.put(record.key, b"rowz")
    with pytest.raises(NotConserved, match="was changed after its commit"):
        read_part(store, record)

    class Blind:
        def hexdigest(self) -> str:
            return record.sha256

    monkeypatch.setattr(autosteer_core.commit.hashlib, "sha256", lambda data: Blind())
    assert read_part(store, record) == b"rowz"


def test_without_the_rule_for_nan_an_item_that_was_never_judged_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    (item,) = mixed_items(1)
    assert gated(item, math.nan, 0.5, borderline=False).action is Action.REVIEW
    monkeypatch.setattr("autosteer_core.verdict_stages.math.isfinite", lambda risk: True)
    monkeypatch.setattr("autosteer_core.verdict_stages.gate_is_open", lambda risk, threshold: risk >= threshold)
    assert gated(item, math.nan, 0.5, borderline=False).action is Action.ANSWER


@pytest.mark.parametrize("forgotten", ["the file", "the folder", "nothing"])
def test_without_a_sync_a_blob_is_lost_with_the_power(
    forgotten: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that loses its power keeps what was synced: the bytes before their name, and the name at last."""
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        kind = "the folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "the file"
        if kind != forgotten:
            synced.append(kind)

    link = os.link

    def linked(source: Any, target: Any) -> None:
        synced.append("the link")
        link(source, target)

    monkeypatch.setattr(infra.folder_store.os, "fsync", fsync)
    monkeypatch.setattr(infra.folder_store.os, "link", linked)
    FolderStore(tmp_path / "out").put_if_absent("a/key", b"bytes")

    at = synced.index("the link")
    survives = "the file" in synced[:at] and "the folder" in synced[at:]
    assert survives == (forgotten == "nothing")
