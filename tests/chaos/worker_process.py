"""One worker as a process: the real loop on a durable queue and a folder, with a judge that costs little."""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosteer_core.engine import in_chunks
from autosteer_core.errors import LeaseLost
from autosteer_core.ports import Clock, PartQueue
from autosteer_core.values import Action, Item, Lease, Part, PartId, Verdict
from infra.folder_store import FolderStore
from infra.sqlite_queue import SqliteQueue
from infra.system_clock import SystemClock
from tests.doubles import Numbers
from workers.lifeline import Lifeline
from workers.loop import PartWorker
from workers.patience import Patience
from workers.writes import AtOnce

_ENDS = {"complete", "split", "release", "bury"}
_ROWS_AT_ONCE = 8


class LaterClock:
    """The machine's clock in a while: leases that were taken now have ended then."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        return SystemClock().now() + self._seconds


def behind() -> Executor:
    """Writes as a worker does: in a thread, while the judge goes on."""
    return ThreadPoolExecutor(1)


def sqlite_queue(folder: Path, clock: Clock) -> PartQueue:
    """The queue of one machine."""
    return SqliteQueue(folder / "queue.sqlite", clock)


@dataclass(frozen=True)
class Site:
    """Where a herd of workers works, and on what; everything goes to the processes by pickle."""

    folder: Path
    rows: int
    rows_per_part: int = 32
    lease_seconds: float = 2.0
    row_seconds: float = 0.0
    most_parts: int = 2
    open_queue: Callable[[Path, Clock], PartQueue] = sqlite_queue
    poison: frozenset[int] = frozenset()
    writer: Callable[[], Executor] = AtOnce

    @property
    def manifest(self) -> Numbers:
        return Numbers(self.rows)

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.folder / "store")

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    def queue(self, later: float = 0.0) -> PartQueue:
        """As a process sees it whose clock is so many seconds ahead."""
        return self.open_queue(self.folder, LaterClock(later))

    def parts(self) -> list[Part]:
        """As they are planned."""
        starts = range(0, self.rows, self.rows_per_part)
        return [Part(PartId(f"p{at}"), "f", at, min(at + self.rows_per_part, self.rows)) for at in starts]

    def worker(self, name: str, queue: Any, store: Any) -> PartWorker:
        """The real loop; its judge sends the pulse after every few rows, as an engine does."""
        lifeline = Lifeline(queue, self.lease_seconds)

        def judge(items: Sequence[Item]) -> list[Verdict]:
            if any(item.row in self.poison for item in items):
                os._exit(139)
            time.sleep(self.row_seconds * len(items))
            lifeline.pulse()
            return [Verdict(item.item_id, item.row, Action.ANSWER, math.nan, "") for item in items]

        return PartWorker(
            name, queue, store, self.manifest, in_chunks(judge, _ROWS_AT_ONCE), encode, lifeline,
            Patience(lifeline.pulse), most_parts=self.most_parts, writer=self.writer(),
        )  # fmt: skip


def encode(verdicts: Sequence[Verdict], lease: Lease) -> bytes:
    """Attempts differ in their bytes, as those of a model do in their last digits."""
    rows = [[verdict.row, verdict.flaw and verdict.flaw.code] for verdict in verdicts]
    return json.dumps({"rows": rows, "attempt": [lease.worker, lease.token]}).encode()


class Journal:
    """A queue that writes down who got, finished and lost what; a line is one write, so processes share the file."""

    def __init__(self, queue: PartQueue, path: Path, worker: str) -> None:
        self._queue, self._worker = queue, worker
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._queue, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                answer = method(*args, **kwargs)
            except LeaseLost:
                self._note("fenced", args[0])
                raise
            if name == "claim":
                for lease in answer:
                    self._note("claim", lease)
            elif name in _ENDS:
                self._note(name, args[0])
            return answer

        return call

    def _note(self, event: str, lease: Lease) -> None:
        line = json.dumps([time.time(), event, self._worker, lease.part.part_id, lease.part.start, lease.part.stop])
        os.write(self._file, f"{line}\n".encode())


def work(site: Site, name: str, later: float = 0.0) -> None:
    """The life of the process: until nothing is left to do."""
    queue = site.queue(later)
    worker = site.worker(name, Journal(queue, site.journal, name), site.store)
    while queue.counts().unfinished:
        worker.run(lambda: False)
        time.sleep(0.02)


def rows_of(data: bytes) -> list[tuple[int, str | None]]:
    """Row numbers with their error codes, of a part file."""
    return [(row, code) for row, code in json.loads(data)["rows"]]
