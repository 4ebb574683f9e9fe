"""Parts of a run that follows a registry: each is of the bundle that its worker pinned it to when it claimed it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from autosteer_core.commit import commit_part, seal
from autosteer_core.errors import TryAgain
from autosteer_core.records import NotConserved, read_records
from autosteer_core.values import Action, BundleId, Cause, Item, Lease, Part, PartId, QueueCounts, Verdict
from infra.memory_queue import MemoryQueue
from infra.memory_store import MemoryStore
from tests.doubles import FakeClock, Numbers
from workers.lifeline import Lifeline
from workers.loop import Judge, PartWorker
from workers.patience import Patience

PARTS = [Part(PartId(f"p{start:03d}"), "f", start, start + 4) for start in range(0, 24, 4)]
ONE, TWO = BundleId("one"), BundleId("two")


@dataclass
class Pins:
    """Gives what is promoted, and knows who has what."""

    promoted: BundleId = ONE
    held: dict[tuple[str, int], BundleId] = field(default_factory=dict)
    most: int = 0

    def pin(self, lease: Lease) -> BundleId:
        self.held[lease.part.part_id, lease.token] = self.promoted
        self.most = max(self.most, len(self.held))
        return self.promoted

    def let_go(self, lease: Lease) -> None:
        self.held.pop((lease.part.part_id, lease.token), None)


def verdict(item: Item) -> Verdict:
    return Verdict(item.item_id, item.row, Action.ANSWER, 0.0, "", under=item.under)


class Bench:
    def __init__(self) -> None:
        self.queue, self.store, self.pins = MemoryQueue(FakeClock()), MemoryStore(), Pins()
        self.queue.add(PARTS)
        self.encoded: dict[str, BundleId | None] = {}

    def worker(self, judge: Judge) -> PartWorker:
        lifeline = Lifeline(self.queue, 30.0, FakeClock().now)

        def encode(rows: Sequence[Verdict], lease: Lease) -> bytes:
            assert (lease.part.part_id, lease.token) in self.pins.held, "let go before its rows were written"
            self.encoded[lease.part.part_id] = lease.under
            return repr(rows).encode()

        return PartWorker(
            "w", self.queue, self.store, Numbers(24), judge, encode, lifeline, Patience(lifeline.pulse),
            most_parts=3, pins=self.pins,
        )  # fmt: skip

    def bundles(self) -> dict[str, str | None]:
        return {part_id: record.bundle_id for part_id, record in read_records(self.store).commits.items()}


def test_parts_in_work_keep_their_bundle_while_another_is_promoted() -> None:
    bench = Bench()

    def judge(items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        for place, item in enumerate(items):
            if item.row == 9:  # in the middle of the third part
                bench.pins.promoted = TWO
            yield place, verdict(item)

    assert bench.worker(judge).run(lambda: False) == 6

    assert list(bench.bundles().values()) == [ONE, ONE, ONE, TWO, TWO, TWO]
    assert bench.encoded == bench.bundles()
    assert len(seal(bench.store, PARTS, Numbers(24).row_ids())) == 6
    assert bench.pins.held == {}
    assert 0 < bench.pins.most <= 4


def test_a_part_whose_rows_two_bundles_made_is_not_committed() -> None:
    bench = Bench()

    def judge(items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        for place, item in enumerate(items):
            yield place, replace(verdict(item), under=TWO if item.row == 6 else item.under)

    with pytest.raises(NotConserved, match="some of its rows were made by two"):
        bench.worker(judge).run(lambda: False)
    assert PARTS[1].part_id not in bench.bundles()


@pytest.mark.parametrize(("leased", "made"), [(ONE, None), (None, ONE), (ONE, TWO)])
def test_the_commit_checks_every_row(leased: BundleId | None, made: BundleId | None) -> None:
    store = MemoryStore()
    rows = [Verdict(str(row), row, Action.ANSWER, 0.0, "", under=leased) for row in range(4)]
    lease = Lease(PARTS[0], 1, "w", 1.0, under=leased)

    with pytest.raises(NotConserved, match="nothing is written"):
        commit_part(store, lease, [*rows[:3], replace(rows[3], under=made)], b"")
    assert list(store.keys()) == []
    assert commit_part(store, lease, rows, b"")


def test_whatever_ends_a_stream_no_bundle_is_held_after_it() -> None:
    bench = Bench()

    def judge(items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        for place, item in enumerate(items):
            if item.row == 6:
                raise TryAgain("the store is away")
            yield place, verdict(item)

    bench.worker(judge).run(lambda: False)

    assert bench.queue.counts() == QueueCounts(done=5, buried=1)
    assert bench.pins.held == {}


def test_a_row_that_kills_its_workers_is_an_error_under_the_bundle_of_its_part() -> None:
    bench = Bench()
    single = Part(PartId("p.0-1"), "f", 0, 1)
    bench.queue = MemoryQueue(FakeClock())
    bench.queue.add([single])
    for _ in range(3):
        (lease,) = bench.queue.claim("other", 30.0)
        bench.queue.release(lease, "died", Cause.CRASH)

    bench.worker(lambda items: iter([])).run(lambda: False)

    (record,) = read_records(bench.store).commits.values()
    assert (record.actions, record.bundle_id) == ({"error": 1}, ONE)
