"""Random histories: each durable queue says at every step what the reference queue says."""

import shutil
import tempfile
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from autosteer_core.errors import LeaseLost
from autosteer_core.ports import PartQueue
from autosteer_core.values import Cause, Lease, Part, PartId
from infra.memory_queue import MemoryQueue
from infra.postgres_queue import PostgresQueue
from infra.sqlite_queue import SqliteQueue
from tests.doubles import FakeClock

WHOLE = [Part(PartId(f"part-{number}"), "manifest.parquet", 4 * number, 4 * number + 4) for number in range(5)]
PARTS = [*WHOLE, *WHOLE[0].halves()]
MAX_FAILURES = 2
SERVER_HISTORIES = 8  # a step on a server takes ten times as long as one on a file


class Histories(RuleBasedStateMachine):
    """Both queues live through the same history and share one clock."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.reference = MemoryQueue(self.clock, MAX_FAILURES)
        self.queue = self.open()

    def open(self) -> PartQueue:
        """The durable queue, again on what it held."""
        raise NotImplementedError

    def teardown(self) -> None:
        self.queue.close()

    @rule(parts=st.lists(st.sampled_from(PARTS), max_size=4))
    def add(self, parts: list[Part]) -> None:
        assert self.queue.add(parts) == self.reference.add(parts)

    @rule(target=leases, worker=st.sampled_from(["ann", "bob"]), limit=st.integers(1, 3))
    def claim(self, worker: str, limit: int) -> MultipleResults[Lease]:
        claimed = self.queue.claim(worker, 30, limit)
        assert claimed == self.reference.claim(worker, 30, limit)
        return multiple(*claimed)

    @rule(lease=leases, seconds=st.sampled_from([1, 60]))
    def renew(self, lease: Lease, seconds: float) -> None:
        assert renewal(self.queue, lease, seconds) == renewal(self.reference, lease, seconds)

    @rule(lease=leases, ending=st.sampled_from(["complete", "bury", "split", *Cause]))
    def end(self, lease: Lease, ending: str) -> None:
        assert ended(self.queue, lease, ending) == ended(self.reference, lease, ending)

    @rule(ending=st.sampled_from(["complete", "bury", "split", *Cause]), times=st.integers(1, MAX_FAILURES + 1))
    def take_and_end(self, ending: str, times: int) -> None:
        """A part that is given back comes again: only so are failures counted to their end."""
        for _ in range(times):
            for lease in self.claim("cat", 1).values:
                self.end(lease, ending)

    @rule(part=st.sampled_from(PARTS))
    def mark_done(self, part: Part) -> None:
        self.queue.mark_done([part.part_id])
        self.reference.mark_done([part.part_id])

    @rule(parts=st.none() | st.lists(st.sampled_from(PARTS), max_size=2))
    def reopen(self, parts: list[Part] | None) -> None:
        chosen = None if parts is None else [part.part_id for part in parts]
        assert self.queue.reopen(chosen) == self.reference.reopen(chosen)

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
        assert list(self.queue.buried().items()) == list(self.reference.buried().items())


class SqliteHistories(Histories):
    """A file."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        super().__init__()

    def open(self) -> PartQueue:
        return SqliteQueue(self.folder / "queue.db", self.clock, MAX_FAILURES)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


class PostgresHistories(Histories):
    """A queue of its own in a table that fills up with those of the other histories."""

    address = ""

    def __init__(self) -> None:
        self.name = uuid4().hex
        super().__init__()

    def open(self) -> PartQueue:
        return PostgresQueue(self.address, self.name, self.clock, MAX_FAILURES)


class ForgetfulHistories(Histories):
    """A queue that buries a part one failure too late: what the histories must notice."""

    def open(self) -> PartQueue:
        return MemoryQueue(self.clock, MAX_FAILURES + 1) if not hasattr(self, "queue") else self.queue


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
            case "split":
                queue.split(lease, lease.part.halves())
            case _:
                queue.release(lease, ending, Cause(ending))
    except LeaseLost as error:
        return str(error)
    return "accepted"


HISTORIES = settings(max_examples=60, stateful_step_count=30, deadline=None)
FIXED = settings(HISTORIES, max_examples=500, database=None, derandomize=True, phases=[Phase.generate])


def test_the_queue_in_a_file_says_what_the_reference_says() -> None:
    run_state_machine_as_test(SqliteHistories, settings=HISTORIES)


def test_the_queue_in_a_server_says_what_the_reference_says(
    postgres_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresHistories, "address", postgres_address)
    run_state_machine_as_test(PostgresHistories, settings=settings(HISTORIES, max_examples=SERVER_HISTORIES))


def test_a_queue_that_buries_one_failure_late_is_noticed() -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(ForgetfulHistories, settings=FIXED)
