"""Random histories: the SQLite queue says at every step what the reference queue says."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from autosteer_core.errors import LeaseLost
from autosteer_core.ports import PartQueue
from autosteer_core.values import Cause, Lease, Part, PartId
from infra.memory_queue import MemoryQueue
from infra.sqlite_queue import SqliteQueue
from tests.doubles import FakeClock

PARTS = [Part(PartId(f"part-{number}"), "manifest.parquet", number, number + 1) for number in range(6)]
MAX_FAILURES = 2


class QueueHistories(RuleBasedStateMachine):
    """Both queues live through the same history and share one clock."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        self.reference = MemoryQueue(self.clock, MAX_FAILURES)
        self.queue = self.open()

    def open(self) -> SqliteQueue:
        return SqliteQueue(self.folder / "queue.db", self.clock, MAX_FAILURES)

    def teardown(self) -> None:
        self.queue.close()
        shutil.rmtree(self.folder)

    @rule(parts=st.lists(st.sampled_from(PARTS), max_size=4))
    def add(self, parts: list[Part]) -> None:
        assert self.queue.add(parts) == self.reference.add(parts)

    @rule(target=leases, worker=st.sampled_from(["ann", "bob"]), limit=st.integers(1, 3))
    def claim(self, worker: str, limit: int) -> object:
        claimed = self.queue.claim(worker, 30, limit)
        assert claimed == self.reference.claim(worker, 30, limit)
        return multiple(*claimed)

    @rule(lease=leases, seconds=st.sampled_from([1, 60]))
    def renew(self, lease: Lease, seconds: float) -> None:
        assert renewal(self.queue, lease, seconds) == renewal(self.reference, lease, seconds)

    @rule(lease=leases, ending=st.sampled_from(["complete", "failure", "crash", "shutdown", "bury"]))
    def end(self, lease: Lease, ending: str) -> None:
        assert ended(self.queue, lease, ending) == ended(self.reference, lease, ending)

    @rule(part=st.sampled_from(PARTS))
    def mark_done(self, part: Part) -> None:
        self.queue.mark_done([part.part_id])
        self.reference.mark_done([part.part_id])

    @rule(seconds=st.sampled_from([-5, 1, 29, 30, 61]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.queue.close()
        self.queue = self.open()

    @invariant()
    def they_agree(self) -> None:
        assert self.queue.counts() == self.reference.counts()
        assert self.queue.buried() == self.reference.buried()


def renewal(queue: PartQueue, lease: Lease, seconds: float) -> Lease | str:
    try:
        return queue.renew(lease, seconds)
    except LeaseLost as error:
        return str(error)


def ended(queue: PartQueue, lease: Lease, ending: str) -> str:
    try:
        match ending:
            case "complete":
                queue.complete(lease)
            case "bury":
                queue.bury(lease, "poison")
            case _:
                queue.release(lease, ending, Cause(ending))
    except LeaseLost as error:
        return str(error)
    return "accepted"


QueueHistories.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestQueueHistories = QueueHistories.TestCase
