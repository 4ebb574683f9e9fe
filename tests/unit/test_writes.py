"""Parts are written behind the model, by another thread, and never many of them."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from autosteer_core.commit import seal
from autosteer_core.errors import TryAgain
from autosteer_core.values import Action, Item, Lease, Part, PartId, QueueCounts, Verdict
from infra.memory_queue import MemoryQueue
from infra.memory_store import MemoryStore
from tests.doubles import FakeClock, Numbers
from workers.lifeline import Lifeline
from workers.loop import PartWorker
from workers.patience import Patience
from workers.writes import MOST_BEHIND

ROWS = 12
PARTS = [Part(PartId(f"p{row:03d}"), "f", row, row + 1) for row in range(ROWS)]


class Gate(MemoryStore):
    """A store that takes nothing before it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = Event()

    def put_if_absent(self, key: str, data: bytes) -> bool:
        assert self.opened.wait(30)
        return super().put_if_absent(key, data)


class Line:
    """One worker with a writer of its own; `judged` are the rows that its model has done."""

    def __init__(self, store: MemoryStore) -> None:
        self.store, self.judged = store, list[int]()
        self.queue = MemoryQueue(FakeClock())
        self.queue.add(PARTS)
        self.lifeline = Lifeline(self.queue, 1e6)

    def run(self) -> int:
        patience = Patience(self.lifeline.pulse)
        with ThreadPoolExecutor(1) as writer:
            return PartWorker(
                "w", self.queue, self.store, Numbers(ROWS), self.judge, encode, self.lifeline, patience, 4, writer
            ).run(lambda: False)

    def judge(self, items: Iterable[Item]) -> Iterator[tuple[int, Verdict]]:
        for place, item in enumerate(items):
            self.judged.append(item.row)
            self.heard()
            yield place, Verdict(item.item_id, item.row, Action.ANSWER, 0.0, "")

    def heard(self) -> None:
        """Called for every row that is judged."""


def encode(rows: list[Verdict], lease: Lease) -> bytes:
    return repr(rows).encode()


def test_the_model_goes_on_while_a_part_is_written() -> None:
    store = Gate()
    line = Line(store)
    line.heard = lambda: line.judged[-1] == 1 and store.opened.set()  # type: ignore[method-assign]

    assert line.run() == ROWS
    assert seal(store, PARTS, Numbers(ROWS).row_ids())


def test_a_store_that_is_slower_than_the_model_holds_it_up() -> None:
    store = Gate()
    line = Line(store)
    seen = list[int]()

    def pulse() -> None:
        seen.append(len(line.judged))
        if len(seen) > ROWS:
            store.opened.set()

    line.lifeline.pulse = pulse  # type: ignore[method-assign]

    assert line.run() == ROWS
    assert max(seen[: ROWS + 1]) == MOST_BEHIND + 1


def test_a_part_that_could_not_be_written_is_done_again() -> None:
    class Failing(MemoryStore):
        failed = False

        def put_if_absent(self, key: str, data: bytes) -> bool:
            if not self.failed:
                self.failed = True
                raise TryAgain("the disk is full")
            return super().put_if_absent(key, data)

    line = Line(Failing())

    assert line.run() == ROWS
    assert line.queue.counts() == QueueCounts(done=ROWS)
    assert len(line.judged) == ROWS + 1


def test_what_is_being_written_when_the_worker_is_stopped_is_finished() -> None:
    store = Gate()
    line = Line(store)
    stopping = Event()

    def heard() -> None:
        if len(line.judged) == 2:
            stopping.set()
            store.opened.set()

    line.heard = heard  # type: ignore[method-assign]
    patience = Patience(line.lifeline.pulse)
    with ThreadPoolExecutor(1) as writer:
        worker = PartWorker(
            "w", line.queue, store, Numbers(ROWS), line.judge, encode, line.lifeline, patience, 4, writer
        )
        worker.run(stopping.is_set)

    counts = line.queue.counts()
    assert counts.done >= 1 and counts.leased == 0
