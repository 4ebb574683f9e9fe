"""One worker's loop over ports."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import pytest

from autosteer_core.commit import seal
from autosteer_core.engine import in_chunks
from autosteer_core.errors import TryAgain, Unreachable, UserMistake
from autosteer_core.records import NotConserved, fate, read_records
from autosteer_core.values import Action, Cause, Item, Lease, Part, PartId, QueueCounts, Verdict
from infra.memory_queue import MemoryQueue
from infra.memory_store import MemoryStore
from tests.doubles import FakeClock, Numbers
from workers.lifeline import Lifeline
from workers.loop import Judge, PartWorker
from workers.patience import Patience

PARTS = [Part(PartId(f"p{start:03d}"), "f", start, start + 4) for start in range(0, 12, 4)]
LEASE = 30.0

ListJudge = Callable[[Sequence[Item]], list[Verdict]]


def answer(items: Sequence[Item]) -> list[Verdict]:
    return [Verdict(item.item_id, item.row, Action.ANSWER, 0.0, "") for item in items]


class Bench:
    """A queue, a store and a clock that a test can move."""

    def __init__(self, max_failures: int = 5) -> None:
        self.clock = FakeClock()
        self.queue = MemoryQueue(self.clock, max_failures)
        self.store = MemoryStore()
        self.queue.add(PARTS)

    def worker(self, name: str = "w", judge: ListJudge = answer) -> PartWorker:
        return self.streaming(in_chunks(judge, 2), name)

    def streaming(self, judge: Judge, name: str = "w") -> PartWorker:
        lifeline = Lifeline(self.queue, LEASE, self.clock.now)
        self.pulse = lifeline.pulse

        def encode(rows: Sequence[Verdict], lease: Lease) -> bytes:
            return repr(rows).encode()

        patience = Patience(lifeline.pulse, self.clock.advance)
        return PartWorker(name, self.queue, self.store, Numbers(12), judge, encode, lifeline, patience, most_parts=8)


def test_a_worker_finishes_every_part() -> None:
    bench = Bench()

    assert bench.worker().run(lambda: False) == 3

    assert bench.queue.counts() == QueueCounts(done=3)
    assert len(seal(bench.store, PARTS, Numbers(12).row_ids())) == 3


def test_a_part_that_is_already_committed_is_completed_without_judging() -> None:
    bench = Bench()
    bench.worker().run(lambda: False)
    bench.queue = MemoryQueue(bench.clock)
    bench.queue.add(PARTS)

    def never(items: Sequence[Item]) -> list[Verdict]:
        raise AssertionError

    bench.worker(judge=never).run(lambda: False)
    assert bench.queue.counts() == QueueCounts(done=3)


def test_a_worker_that_is_too_slow_drops_its_part_and_the_other_commits_it() -> None:
    bench = Bench()

    def slow(items: Sequence[Item]) -> list[Verdict]:
        bench.clock.advance(31)
        if not read_records(bench.store).current:
            bench.worker("fast").run(lambda: False)
        return answer(items)

    assert bench.worker("slow", slow).run(lambda: False) == 0
    assert [record.rows for record in seal(bench.store, PARTS, Numbers(12).row_ids())] == [2, 2, 4, 4]


def test_a_part_that_takes_many_leases_is_kept_by_the_pulse_of_its_work() -> None:
    bench = Bench()

    def long(items: Sequence[Item]) -> list[Verdict]:
        for _ in range(20):
            bench.clock.advance(LEASE / 2)
            bench.pulse()
            bench.queue.claim("greedy", 1e6, limit=len(PARTS))
        return answer(items)

    assert bench.worker("slow", long).run(lambda: False) == 1
    assert fate(bench.store, PARTS[0]) is not None
    assert bench.queue.claims(PARTS[0].part_id) == 1


def test_work_without_a_pulse_loses_its_part() -> None:
    bench = Bench()

    def stuck(items: Sequence[Item]) -> list[Verdict]:
        bench.clock.advance(LEASE + 1)
        bench.queue.claim("greedy", 1e6, limit=len(PARTS))
        bench.pulse()
        raise AssertionError("the pulse must end this work")

    assert bench.worker("stuck", stuck).run(lambda: False) == 0
    assert fate(bench.store, PARTS[0]) is None


def test_a_stop_gives_the_part_back_without_a_failure() -> None:
    bench = Bench()
    asked: list[int] = []

    def stopping() -> bool:
        asked.append(1)
        return len(asked) > 2

    bench.worker().run(stopping)

    assert bench.queue.counts() == QueueCounts(ready=3)
    assert fate(bench.store, PARTS[0]) is None


def test_a_part_that_keeps_failing_is_set_aside_and_the_others_are_done() -> None:
    bench = Bench()

    def judge(items: Sequence[Item]) -> list[Verdict]:
        if items[0].row == 4:
            raise TryAgain("the store is away")
        return answer(items)

    bench.worker(judge=judge).run(lambda: False)

    assert bench.queue.counts() == QueueCounts(done=2, buried=1)


def test_a_lease_that_is_lost_costs_its_part_and_none_beside_it() -> None:
    bench = Bench()

    def judge(items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        verdicts = answer(list(items))
        bench.clock.advance(LEASE + 1)
        (taken,) = bench.queue.claim("greedy", 1e6)
        assert taken.part == PARTS[0]
        bench.pulse()
        yield from reversed(list(enumerate(verdicts)))

    assert bench.streaming(judge).run(lambda: False) == 2
    assert [fate(bench.store, part) is not None for part in PARTS] == [False, True, True]
    assert bench.queue.counts() == QueueCounts(leased=1, done=2)


def test_a_part_is_committed_as_soon_as_all_its_rows_have_verdicts() -> None:
    bench, committed_after = Bench(), []

    def judge(items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        verdicts = answer(list(items))
        for place in [8, 9, 10, 11, 0, 4, 1, 5, 2, 6, 3, 7]:
            yield place, verdicts[place]
            committed_after.append(len(read_records(bench.store).current))

    assert bench.streaming(judge).run(lambda: False) == 3
    assert committed_after == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 3]


def test_parts_are_claimed_only_when_their_items_are_asked_for() -> None:
    bench, leased = Bench(), []

    def judge(items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        for place, item in enumerate(items):
            leased.append(bench.queue.counts().leased)
            yield place, answer([item])[0]

    assert bench.streaming(judge).run(lambda: False) == 3
    assert set(leased) == {1}


def test_a_part_that_breaks_its_stream_is_set_aside_and_those_beside_it_are_done() -> None:
    bench = Bench()

    def judge(items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        given = list(items)
        if any(item.row == 4 for item in given):
            raise TryAgain("the model is confused")
        yield from enumerate(answer(given))

    assert bench.streaming(judge).run(lambda: False) == 2
    assert bench.queue.counts() == QueueCounts(done=2, buried=1)
    assert fate(bench.store, PARTS[1]) is None


def test_parts_beside_one_that_breaks_the_stream_have_no_failure_of_it() -> None:
    bench = Bench(max_failures=1)

    def judge(items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        given = list(items)
        if any(item.row == 4 for item in given):
            raise TryAgain("the model is confused")
        yield from enumerate(answer(given))

    bench.streaming(judge).run(lambda: False)

    assert bench.queue.counts() == QueueCounts(done=2, buried=1)


def test_an_error_that_ends_the_worker_gives_its_parts_back_at_once() -> None:
    bench = Bench()

    def judge(items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        list(items)
        raise UserMistake("the disk is full")
        yield

    with pytest.raises(UserMistake):
        bench.streaming(judge).run(lambda: False)

    assert bench.queue.counts() == QueueCounts(ready=3)


def test_a_worker_holds_no_more_parts_than_it_may() -> None:
    bench = Bench()
    leased: list[int] = []

    def judge(items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        given = list(items)
        leased.append(bench.queue.counts().leased)
        yield from enumerate(answer(given))

    assert replace(bench.streaming(judge), most_parts=2).run(lambda: False) == 3
    assert leased == [2, 1]


def test_a_stop_gives_every_part_in_work_back_without_a_failure() -> None:
    bench, causes, stop = Bench(), [], []
    release = bench.queue.release

    def released(lease: Lease, reason: str, cause: Cause) -> None:
        causes.append(cause)
        release(lease, reason, cause)

    bench.queue.release = released

    def judge(items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        verdicts = answer(list(items))
        stop.append(True)
        bench.pulse()
        yield from enumerate(verdicts)

    assert bench.streaming(judge).run(lambda: bool(stop)) == 0
    assert bench.queue.counts() == QueueCounts(ready=3)
    assert causes == [Cause.SHUTDOWN] * 3


def test_an_item_without_a_verdict_is_never_left_out_quietly() -> None:
    bench = Bench()

    with pytest.raises(NotConserved, match="p004 has 4 rows, 3 verdicts"):
        bench.streaming(lambda items: (pair for pair in enumerate(answer(list(items))) if pair[0] != 5)).run(
            lambda: False
        )

    assert [fate(bench.store, part) is not None for part in PARTS] == [True, False, True]


@pytest.mark.parametrize("asked", ["what became of its part", "to keep its rows"])
def test_a_worker_that_is_stopped_while_the_store_does_not_answer_gives_its_part_back(asked: str) -> None:
    bench, calls = Bench(), []

    def away(*args: object) -> bytes:
        calls.append(args)
        raise Unreachable("the store is away")

    setattr(bench.store, "get" if asked == "what became of its part" else "put_if_absent", away)

    assert bench.worker().run(lambda: len(calls) > 3) == 0

    assert bench.queue.counts() == QueueCounts(ready=3)
    assert [lease.crashes for lease in bench.queue.claim("next", LEASE, limit=3)] == [0, 0, 0]
