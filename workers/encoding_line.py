"""The items of one call on their way from source to prompt: in order, and never more bytes than allowed."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Condition

from autosteer_core.backbones.base import Prompt
from autosteer_core.backbones.chat_prompt import ChatPrompt
from autosteer_core.encoding import Encoded
from autosteer_core.errors import BadItem
from autosteer_core.values import Item

Outcome = Prompt | BadItem | Exception

_MOST_ITEMS = 128
_ITEM_BYTES = 1024  # Python's own objects around an item
_TOKEN_BYTES = 40  # a number in a list


@dataclass(slots=True, eq=False)
class Entry:
    """An item, and what became of it as soon as that is known."""

    item: Item
    held: int
    outcome: Outcome | None = None


class EncodingLine:
    """Held are all items that the consumer has not got yet, with their prompts where there are any.

    New items are drawn while less than half of `limit` bytes are held, and encoding begins while less than `limit`
    are: what an item decodes to is known only afterwards. So at most `limit` bytes are held, and for each process
    one item with its prompt. With nothing decoded one item is always encoded, however large the others are.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = Condition()
        self._entries: deque[Entry] = deque()
        self._waiting: deque[Entry] = deque()
        self._held = 0
        self._closed = False

    def draw(self, source: Iterator[Item]) -> bool:
        """Take in what may wait, in the consumer's thread; False when nothing is left to wait for."""
        while len(self._entries) < _MOST_ITEMS and self._held < max(1, self._limit // 2):
            item = next(source, None)
            if item is None:
                break
            entry = Entry(item, _ITEM_BYTES + len(item.text) + sum(len(image) for image in item.images))
            with self._changed:
                self._entries.append(entry)
                self._waiting.append(entry)
                self._hold(entry.held)
        return bool(self._entries)

    def landed(self, seconds: float) -> Encoded | None:
        """The first item, if it is done in time; raises what encoding it raised."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._entries[0].outcome is not None, seconds):
                return None
            entry = self._entries.popleft()
            self._hold(-entry.held)
        assert entry.outcome is not None
        if isinstance(entry.outcome, Exception) and not isinstance(entry.outcome, BadItem):
            raise entry.outcome
        return entry.item, entry.outcome

    def take(self) -> Entry | None:
        """The next item to encode, as soon as there is room for its prompt; None after the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._may_take())
            return None if self._closed else self._waiting.popleft()

    def land(self, entry: Entry, outcome: Outcome) -> None:
        """The item is done."""
        with self._changed:
            entry.outcome = outcome
            size = _size(outcome)
            entry.held += size
            self._hold(size)

    def close(self) -> None:
        """Send everybody home who waits for an item to encode."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _may_take(self) -> bool:
        if not self._waiting:
            return False
        return self._held < self._limit or self._waiting[0] is self._entries[0]

    def _hold(self, change: int) -> None:
        self._held += change
        self._changed.notify_all()


def _size(outcome: Outcome) -> int:
    if not isinstance(outcome, ChatPrompt):
        return 0
    return _TOKEN_BYTES * len(outcome.ids) + sum(tensor.nbytes for tensor in outcome.pictures.values())
