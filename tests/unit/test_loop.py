"""One worker's loop over ports."""

from collections.abc import Callable, Iterator, Sequence

from autosteer_core.commit import committed, is_committed, seal
from autosteer_core.errors import TryAgain
from autosteer_core.values import Action, Item, Part, PartId, QueueCounts, Verdict
from infra.memory_queue import MemoryQueue
from infra.memory_store import MemoryStore
from tests.doubles import FakeClock
from workers.lifeline import Lifeline
from workers.loop import PartWorker, in_chunks

PARTS = [Part(PartId(f"p{start:03d}"), "f", start, start + 4) for start in range(0, 12, 4)]
LEASE = 30.0

ListJudge = Callable[[Sequence[Item]], list[Verdict]]


class Numbers:
    """A manifest whose items are their row numbers."""

    def files(self) -> Sequence[tuple[str, int, str]]:
        return [("f", 12, "")]

    def items(self, part: Part) -> Iterator[Item]:
        return (Item(str(row), "", row=row) for row in range(part.start, part.stop))


def answer(items: Sequence[Item]) -> list[Verdict]:
    return [Verdict(item.item_id, item.row, Action.ANSWER, 0.0, "") for item in items]


class Bench:
    """A queue, a store and a clock that a test can move."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.queue = MemoryQueue(self.clock)
        self.store = MemoryStore()
        self.queue.add(PARTS)

    def worker(self, name: str = "w", judge: ListJudge = answer) -> PartWorker:
        lifeline = Lifeline(self.queue, LEASE, self.clock.now)
        self.pulse = lifeline.pulse
        return PartWorker(
            name,
            self.queue,
            self.store,
            Numbers(),
            in_chunks(judge, 2),
            lambda rows, lease: repr(rows).encode(),
            lifeline,
        )


def test_a_worker_finishes_every_part() -> None:
    bench = Bench()

    assert bench.worker().run(lambda: False) == 3

    assert bench.queue.counts() == QueueCounts(done=3)
    assert len(seal(bench.store, PARTS)) == 3


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
        if not list(committed(bench.store)):
            bench.worker("fast").run(lambda: False)
        return answer(items)

    assert bench.worker("slow", slow).run(lambda: False) == 0
    assert len(seal(bench.store, PARTS)) == 3


def test_a_part_that_takes_many_leases_is_kept_by_the_pulse_of_its_work() -> None:
    bench = Bench()

    def long(items: Sequence[Item]) -> list[Verdict]:
        for _ in range(20):
            bench.clock.advance(LEASE / 2)
            bench.pulse()
            bench.queue.claim("greedy", 1e6, limit=len(PARTS))
        return answer(items)

    assert bench.worker("slow", long).run(lambda: False) == 1
    assert is_committed(bench.store, PARTS[0])
    assert bench.queue.claims(PARTS[0].part_id) == 1


def test_work_without_a_pulse_loses_its_part() -> None:
    bench = Bench()

    def stuck(items: Sequence[Item]) -> list[Verdict]:
        bench.clock.advance(LEASE + 1)
        bench.queue.claim("greedy", 1e6, limit=len(PARTS))
        bench.pulse()
        raise AssertionError("the pulse must end this work")

    assert bench.worker("stuck", stuck).run(lambda: False) == 0
    assert not is_committed(bench.store, PARTS[0])


def test_a_stop_gives_the_part_back_without_a_failure() -> None:
    bench = Bench()
    asked: list[int] = []

    def stopping() -> bool:
        asked.append(1)
        return len(asked) > 2

    bench.worker().run(stopping)

    assert bench.queue.counts() == QueueCounts(ready=3)
    assert not is_committed(bench.store, PARTS[0])


def test_a_part_that_keeps_failing_is_set_aside_and_the_others_are_done() -> None:
    bench = Bench()

    def judge(items: Sequence[Item]) -> list[Verdict]:
        if items[0].row == 4:
            raise TryAgain("the store is away")
        return answer(items)

    bench.worker(judge=judge).run(lambda: False)

    assert bench.queue.counts() == QueueCounts(done=2, buried=1)
