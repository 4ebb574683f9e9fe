"""Rows that kill their workers are found by halving, whatever they stand beside, and no other row is blamed."""

import json
import sys
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosteer_core.commit import commit_part, seal, split_part
from autosteer_core.engine import in_chunks
from autosteer_core.values import Action, Cause, Item, Lease, Part, PartId, Verdict
from infra.memory_queue import MemoryQueue
from infra.memory_store import MemoryStore
from tests.doubles import FakeClock, Numbers
from workers.lifeline import Lifeline
from workers.loop import PartWorker
from workers.patience import Patience

LEASE = 30.0


class Died(BaseException):
    """The process is gone: nothing after it runs."""


class Run:
    """Workers that follow each other; each lives until it meets a poisonous row."""

    def __init__(self, rows: int, rows_per_part: int, poison: set[int], most_parts: int = 1) -> None:
        self.clock, self.store, self.manifest = FakeClock(), MemoryStore(), Numbers(rows)
        self.queue = MemoryQueue(self.clock)
        self.parts = [
            Part(PartId(f"p{start}"), "f", start, min(start + rows_per_part, rows))
            for start in range(0, rows, rows_per_part)
        ]
        self.queue.add(self.parts)
        self.poison, self.most_parts, self.crashes = poison, most_parts, 0
        self.judged: Counter[int] = Counter()

    def judge(self, items: Sequence[Item]) -> list[Verdict]:
        self.judged.update(item.row for item in items)
        if any(item.row in self.poison for item in items):
            raise Died
        return [Verdict(item.item_id, item.row, Action.ANSWER, 0.0, "") for item in items]

    def finish(self, name: str = "w") -> None:
        while self.queue.counts().unfinished:
            try:
                self.worker(f"{name}-{self.crashes}").run(lambda: False)
            except Died:
                self.crashes += 1
            self.clock.advance(LEASE + 1)

    def worker(self, name: str) -> PartWorker:
        lifeline = Lifeline(self.queue, LEASE, self.clock.now)

        def encode(rows: Sequence[Verdict], lease: Lease) -> bytes:
            return json.dumps([(row.row, row.flaw and row.flaw.code) for row in rows]).encode()

        return _Mortal(
            name, self.queue, self.store, self.manifest, in_chunks(self.judge, 4), encode, lifeline,
            Patience(lifeline.pulse, self.clock.advance), most_parts=self.most_parts,
        )  # fmt: skip

    def blamed(self) -> list[int]:
        """Rows set aside in the sealed output, which has every row once."""
        rows = [
            row
            for record in seal(self.store, self.parts, self.manifest.row_ids())
            for row in json.loads(self.store.get(record.key))
        ]
        assert sorted(number for number, _ in rows) == list(range(self.manifest.rows))
        assert {code for _, code in rows} <= {None, "E_POISONED"}
        return sorted(number for number, code in rows if code)


class _Mortal(PartWorker):
    """A process that dies gives nothing back."""

    def _give_all_back(self, *args: object) -> None:
        if not isinstance(sys.exc_info()[1], Died):
            super()._give_all_back(*args)


@given(st.sets(st.integers(0, 31), min_size=1, max_size=4))
@settings(max_examples=60)
def test_poisonous_rows_among_32_are_found_in_few_crashes_and_no_other_row_is_blamed(poison: set[int]) -> None:
    run = Run(32, 32, poison)

    run.finish()

    assert run.blamed() == sorted(poison)
    assert run.crashes <= {1: 6, 2: 11, 3: 15, 4: 19}[len(poison)]


@given(st.integers(0, 99), st.integers(2, 4))
@settings(max_examples=30)
def test_a_part_that_crashed_beside_others_takes_no_innocent_row_down(row: int, most_parts: int) -> None:
    run = Run(100, 16, {row}, most_parts)

    run.finish()

    assert run.blamed() == [row]
    assert run.crashes <= 5


def test_a_row_whose_worker_was_killed_once_is_answered() -> None:
    run = Run(5, 1, set())
    run.poison = {2}
    with pytest.raises(Died):
        run.worker("first").run(lambda: False)
    run.poison = set()
    run.clock.advance(LEASE + 1)

    run.finish()

    assert run.blamed() == []


def test_a_stop_or_a_failure_is_no_crash() -> None:
    run = Run(8, 8, set())
    for reason in (Cause.SHUTDOWN, Cause.FAILURE):
        (lease,) = run.queue.claim("w", LEASE)
        run.queue.release(lease, "stopped", reason)

    run.finish()

    assert [record.rows for record in seal(run.store, run.parts, run.manifest.row_ids())] == [8]


def test_a_part_that_was_halved_while_it_was_judged_is_done_in_halves() -> None:
    run = Run(8, 8, set())
    judge, sleepers = run.judge, [Lease(run.parts[0], 1, "of a queue that was lost", 0.0)]

    def halving(items: Sequence[Item]) -> list[Verdict]:
        while sleepers:
            split_part(run.store, sleepers.pop(), "its worker died")
        return judge(items)

    run.judge = halving
    run.finish()

    assert [record.rows for record in seal(run.store, run.parts, run.manifest.row_ids())] == [4, 4]


def test_a_zombie_that_wakes_after_its_part_was_halved_commits_nothing() -> None:
    run = Run(8, 8, set())
    (zombie,) = run.queue.claim("zombie", LEASE)
    run.clock.advance(LEASE + 1)
    run.finish()

    verdicts = [Verdict(str(row), row, Action.ANSWER, 0.0, "late") for row in range(8)]

    assert not commit_part(run.store, zombie, verdicts, b"late")
    assert [record.rows for record in seal(run.store, run.parts, run.manifest.row_ids())] == [4, 4]
