"""Which items of a stream are new, which wait for an equal one in flight, and which are answered already."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from autosteer_core.recent import Recent
from autosteer_core.values import Item, Verdict

Row = tuple[int, Item]


@dataclass(slots=True)
class _First:
    """An item on its way through the engine, and the rows equal to it."""

    row: Row
    key: bytes
    equals: list[Row] = field(default_factory=list)


class EqualRows:
    """Feeds an engine with what has to be computed and settles what equals it.

    A verdict with a flaw is not passed on, because the machine may be to blame (no memory, no finite risk): equal
    rows are then computed themselves. Where the item is to blame, that costs no step of the model.

    At most `held_rows` wait or are ready, so that a long run of equal rows cannot keep the engine from its next step:
    beyond them, an equal row is computed like any other. Source and engine must be read in one thread.
    """

    def __init__(
        self, memory: Recent[Verdict], key: Callable[[Item], bytes], source: Iterator[Row], held_rows: int
    ) -> None:
        self._memory = memory
        self._key = key
        self._source = source
        self._held_rows = held_rows
        self._again: deque[_First] = deque()
        self._fed: dict[int, _First] = {}
        self._flying: dict[bytes, _First] = {}
        self._waiting = 0
        self._ready: deque[tuple[int, Verdict]] = deque()

    @property
    def unsettled(self) -> bool:
        """Whether `fresh` has more to give, after the engine has seen its end."""
        return bool(self._again)

    def fresh(self) -> Iterator[Item]:
        """Items to compute, read from the source one by one; the engine numbers them from 0."""
        for number, first in enumerate(self._to_compute()):
            self._fed[number] = first
            yield first.row[1]

    def settle(self, number: int, verdict: Verdict) -> None:
        """The engine's verdict on its item `number`: it is ready, and so are the rows equal to it."""
        first = self._fed.pop(number)
        self._ready.append((first.row[0], verdict))
        if self._flying.get(first.key) is first:
            del self._flying[first.key]
        self._waiting -= len(first.equals)
        if verdict.flaw is None:
            self._memory.put(first.key, verdict, _size(verdict))
            self._ready += [_shared(row, verdict) for row in first.equals]
        else:
            self._again += [_First(row, first.key) for row in first.equals]
        first.equals = []

    def take_ready(self) -> Iterator[tuple[int, Verdict]]:
        """Verdicts by place in the source, in the order they became known."""
        while self._ready:
            yield self._ready.popleft()

    def _to_compute(self) -> Iterator[_First]:
        while True:
            while self._again:
                yield self._again.popleft()
            row = next(self._source, None)
            if row is None:
                return
            first = _First(row, self._key(row[1]))
            full = self._waiting + len(self._ready) >= self._held_rows
            if full or not self._put_off(first):
                self._flying.setdefault(first.key, first)
                yield first

    def _put_off(self, first: _First) -> bool:
        """Whether the row needs no computing: an equal one is in flight, or has been answered."""
        flying = self._flying.get(first.key)
        if flying is not None:
            place, item = first.row
            # The same bytes once: the pictures of a waiting row take no memory.
            flying.equals.append((place, replace(item, images=flying.row[1].images)))
            self._waiting += 1
            return True
        known = self._memory.get(first.key)
        if known is not None:
            self._ready.append(_shared(first.row, known))
        return known is not None


def _shared(row: Row, verdict: Verdict) -> tuple[int, Verdict]:
    place, item = row
    return place, replace(verdict, item_id=item.item_id, row=item.row, annotation=item.annotation)


def _size(verdict: Verdict) -> int:
    """Bytes, roughly and rather too many: objects take more room than their text."""
    return 1024 + 2 * len(repr(verdict))
