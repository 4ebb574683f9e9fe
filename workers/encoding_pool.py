"""Processes that decode pictures and split texts ahead of the model, so that it never waits for them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import SimpleQueue
from threading import Thread
from weakref import finalize

from autosteer_core.encoding import Encoded
from autosteer_core.engine import silent
from autosteer_core.values import Item
from workers.encoding_line import EncodingLine
from workers.encoding_process import BuildEncoder, EncodingProcess, Patience

_PULSE_SECONDS = 1.0


class EncodingPool:
    """The Encoder port over processes; they end with the pool, and when the worker ends in whatever way.

    Each process has one item at a time, so one that dies takes no other item with it. `limit` is as EncodingLine
    counts it. `pulse` is called while the consumer waits, and what it raises ends the call.
    """

    def __init__(
        self,
        build: BuildEncoder,
        processes: int,
        limit: int,
        pulse: Callable[[], None] = silent,
        patience: Patience | None = None,
    ) -> None:
        self._processes = [EncodingProcess(build, patience or Patience()) for _ in range(processes)]
        self._limit = limit
        self._pulse = pulse
        self._idle: SimpleQueue[EncodingProcess] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._end = finalize(self, _end, self._processes)

    @property
    def pids(self) -> list[int]:
        """Of the processes that run now."""
        return [process.pid for process in self._processes]

    def close(self) -> None:
        """End all processes."""
        self._end()

    def encode(self, items: Iterable[Item]) -> Iterator[Encoded]:
        """As Encoder asks; `items` is read by the caller's thread, as far ahead as there is room.

        Raises:
            UserMistake, RuntimeError, TryAgain: as EncodingProcess.
        """
        line, source = EncodingLine(self._limit), iter(items)
        for _ in self._processes:
            # Daemons: a thread that waits for a process must not keep the interpreter from ending.
            Thread(target=_work, args=(line, self._idle), daemon=True).start()
        try:
            while line.draw(source):
                while (encoded := line.landed(_PULSE_SECONDS)) is None:
                    self._pulse()
                yield encoded
        finally:
            line.close()


def _work(line: EncodingLine, idle: SimpleQueue[EncodingProcess]) -> None:
    """One thread's life: a free process for each item, until the line is closed."""
    while (entry := line.take()) is not None:
        process = idle.get()
        try:
            outcome = process.encode(entry.item)
        except Exception as error:  # noqa: BLE001  (raised by `landed`, in the consumer's thread)
            line.land(entry, error)
        else:
            line.land(entry, outcome)
        finally:
            idle.put(process)


def _end(processes: Sequence[EncodingProcess]) -> None:
    for process in processes:
        process.end()
