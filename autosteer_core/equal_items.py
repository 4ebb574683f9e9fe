"""Equal items are computed once: a later one gets the verdict of the first, under its own id."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256

from autosteer_core.engine import Auditor, Engine, in_order
from autosteer_core.equal_rows import EqualRows
from autosteer_core.recent import Recent
from autosteer_core.values import Annotation, Item, Verdict

# Tens of thousands of rows with answers of a page: a duplicate is found hours later, and the model is far larger.
MEMORY_BYTES = 64 * 2**20

HELD_ROWS = 256  # in a stream: the rows of a few parts, which stay open as long; a kilobyte or two each

Judge = Callable[[Sequence[Item]], list[Verdict]]
Numbered = Iterator[tuple[int, Verdict]]


class EqualAudits:
    """An auditor in front of another; its memory lives as long as it does, over many chunks and parts."""

    def __init__(self, auditor: Auditor, memory_bytes: int = MEMORY_BYTES) -> None:
        self._auditor = auditor
        self._memory: Recent[Verdict] = Recent(memory_bytes)

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """As Auditor asks."""
        return self._all(self._auditor.audit, _audit_key, items)

    def stream(self, items: Iterable[Item]) -> Numbered:
        """As Auditor asks; an item equal to one in flight waits for it and keeps no other from being read."""
        return self._run(self._auditor.stream, EqualRows(self._memory, _audit_key, enumerate(items), HELD_ROWS))

    def _all(self, judge: Judge, key: Callable[[Item], bytes], items: Sequence[Item]) -> list[Verdict]:
        rows = EqualRows(self._memory, key, enumerate(items), held_rows=len(items))
        return in_order(self._run(lambda fresh: enumerate(judge(list(fresh))), rows))

    def _run(self, inner: Callable[[Iterator[Item]], Numbered], rows: EqualRows) -> Numbered:
        while True:
            for number, verdict in inner(rows.fresh()):
                rows.settle(number, verdict)
                yield from rows.take_ready()
            yield from rows.take_ready()
            if not rows.unsettled:
                return


class EqualItems(EqualAudits):
    """An engine in front of another, whose verdicts may depend on nothing but the item: it must not sample.

    `wording` is the refusal of a group, the only part of an annotation that an answer may hold.
    """

    def __init__(self, engine: Engine, wording: Callable[[str], str], memory_bytes: int = MEMORY_BYTES) -> None:
        super().__init__(engine, memory_bytes)
        self._engine = engine
        self._wording = wording

    def generate(self, items: Sequence[Item]) -> list[Verdict]:
        """As Engine asks."""
        return self._all(self._engine.generate, self._key, items)

    def stream(self, items: Iterable[Item]) -> Numbered:
        """As Engine asks."""
        return self._run(self._engine.stream, EqualRows(self._memory, self._key, enumerate(items), HELD_ROWS))

    def _key(self, item: Item) -> bytes:
        return _digest("generate", self._wording(item.annotation.group_name), item)


def _audit_key(item: Item) -> bytes:
    return _digest("audit", "", item)


def _digest(kind: str, wording: str, item: Item) -> bytes:
    """Of everything but what says which row it is, so that a new field of an item tells items apart by itself."""
    pictures = tuple(sha256(image).digest() for image in item.images)
    bare = replace(item, item_id="", row=0, annotation=Annotation(), images=pictures)
    return sha256(repr((kind, wording, bare)).encode()).digest()
