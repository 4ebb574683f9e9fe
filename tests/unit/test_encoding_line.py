"""The line from items to prompts: in order, and never more bytes than it promises."""

from threading import Lock, Thread

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autosteer_core.backbones.chat_prompt import ChatPrompt
from autosteer_core.values import Item
from workers.encoding_line import EncodingLine

OVERHEAD = 1024


class Meter:
    """Bytes of items drawn and prompts made that nobody has got yet."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.now += count
            self.most = max(self.most, self.now)


def encode_all(line: EncodingLine, sizes: list[int], meter: Meter) -> None:
    """What a process would do, in no time."""
    while (entry := line.take()) is not None:
        size = sizes[entry.item.row]
        meter.add(size)
        line.land(entry, ChatPrompt([], {"pixels": torch.empty(size, dtype=torch.uint8)}))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 20_000)), max_size=40),
    limit=st.integers(1, 60_000),
    processes=st.integers(1, 4),
)
def test_items_come_in_order_and_never_more_than_the_limit_and_an_item_a_process_is_held(
    rows: list[tuple[int, int]], limit: int, processes: int
) -> None:
    line, meter = EncodingLine(limit), Meter()
    sizes = [size for _, size in rows]

    def drawn() -> Item:
        for row, (length, _) in enumerate(rows):
            meter.add(OVERHEAD + length)
            yield Item(str(row), "a" * length, row=row)

    threads = [Thread(target=encode_all, args=(line, sizes, meter)) for _ in range(processes)]
    for thread in threads:
        thread.start()
    got: list[int] = []
    source = drawn()
    try:
        while line.draw(source):
            encoded = line.landed(10)
            assert encoded is not None
            item = encoded[0]
            meter.add(-(OVERHEAD + len(item.text) + sizes[item.row]))
            got.append(item.row)
    finally:
        line.close()
    for thread in threads:
        thread.join(10)

    assert got == list(range(len(rows)))
    largest = max((OVERHEAD + length + size for length, size in rows), default=0)
    # One more than the line holds: the meter hears later than the line that the consumer has an item.
    assert meter.most <= limit + (processes + 1) * largest
    assert not any(thread.is_alive() for thread in threads)
