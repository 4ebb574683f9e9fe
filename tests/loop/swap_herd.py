"""Workers as processes without Ray, each with the real loop, engine, shelf and swapper; and what kills them.

They are forked from a process that has everything loaded: one that dies at each of many steps is replaced at once.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from autosteer_core.engine import EngineOptions
from autosteer_core.equal_items import EqualItems
from autosteer_core.errors import AutosteerError, BundleRefused
from autosteer_core.run import FOLLOWING, Run, take_over
from autosteer_core.slot_engine import SlotEngine
from infra.column_map import ColumnMap
from infra.open_store import open_store
from infra.sqlite_queue import SqliteQueue
from infra.system_clock import SystemClock
from pipelines.engines import load_backbone
from pipelines.following import PromotedBundles, _placed
from pipelines.reading import open_items
from pipelines.settings import load_settings
from pipelines.signing import trust_of
from pipelines.wiring import _encode
from tests.loop.promoter import main as promote
from tests.loop.swap_notes import NOTES, Gaps, maybe_die, noted_shelf, noted_swapper
from workers.bundle_shelf import BundleShelf
from workers.lifeline import Lifeline
from workers.loop import PartWorker
from workers.patience import Patience
from workers.swapping import Away, Swapper

_NURSERY = multiprocessing.get_context("forkserver")
_NURSERY.set_forkserver_preload(["pytest", "tests.loop.swap_herd"])
LEASE_SECONDS = 10.0


@dataclass(frozen=True)
class Site:
    """Where the herd works: a folder as `make_swaps` leaves it."""

    root: Path
    out: str = "run"
    run_id: str = ""

    @property
    def run(self) -> Run:
        asked = {"columns": asdict(ColumnMap())}
        return Run("generate", str(self.root / "items.parquet"), self.items().files(), FOLLOWING, asked)

    def items(self) -> Any:
        return open_items(str(self.root / "items.parquet"), ColumnMap(), load_settings())

    def queue(self) -> SqliteQueue:
        return SqliteQueue(self.root / "queue.sqlite", SystemClock())

    def store(self) -> Any:
        return open_store(str(self.root / self.out))

    def planned(self) -> "Site":
        """With the run's record in the output, and its parts in the queue."""
        run = self.run
        take_over(self.store(), run)
        self.queue().add(list(run.parts(8)))
        return replace(self, run_id=run.run_id)


def work(site: Site, name: str) -> None:
    """The life of a worker: until nothing is left to do."""
    os.environ[NOTES] = str(site.root / "notes")
    settings = load_settings(model=str(site.root / "model"))
    backbone, source = load_backbone(settings), PromotedBundles.at(str(site.root / "registry"))
    shelf = BundleShelf(trust_of(settings), partial(_placed, backbone))
    queue = site.queue()
    lifeline = Lifeline(queue, LEASE_SECONDS)
    gaps = Gaps()
    noted_shelf(shelf, gaps)
    shelf.take(source)
    assert shelf.serving

    def pulse() -> None:
        gaps.beat()
        lifeline.pulse()

    options = EngineOptions(max_new_tokens=4, slots=8, pulse=pulse)
    engine = SlotEngine(backbone, shelf.bundle(shelf.serving.promoted), options, shelf.bundle)
    judge = EqualItems(engine, lambda group: group).stream
    provenance = {"run_id": site.run_id, "model_fingerprint": backbone.fingerprint}
    worker = PartWorker(
        name, queue, site.store(), site.items(), judge, partial(_encode, provenance), lifeline,
        Patience(lifeline.pulse), most_parts=4, pins=shelf,
    )  # fmt: skip
    swapper = Swapper(source, lambda: {name: shelf}, _ask)
    noted_swapper(swapper)
    ended = threading.Event()
    threading.Thread(target=_watch, args=(swapper, ended), daemon=True).start()
    worker.run(lambda: False)
    ended.set()


def _watch(swapper: Swapper, ended: threading.Event) -> None:
    while not ended.wait(0.1):
        maybe_die("look")
        with suppress(AutosteerError):
            swapper.look()


def _ask(workers: Mapping[str, Any], method: str, argument: Any) -> dict[str, Any]:
    return {name: _answer(getattr(shelf, method), argument) for name, shelf in workers.items()}


def _answer(call: Callable[[Any], Any], argument: Any) -> Any:
    try:
        call(argument)
    except BundleRefused as error:
        return error
    except AutosteerError as error:
        return Away(str(error))
    return True


@dataclass
class Herd:
    """At most `size` workers, and whoever died is replaced."""

    site: Site
    size: int = 2
    workers: dict[str, BaseProcess] = field(default_factory=dict)
    deaths: int = 0
    born: int = 0

    def tend(self) -> None:
        """As many as there should be, while there is work."""
        for name, process in list(self.workers.items()):
            if not process.is_alive():
                assert process.exitcode in (0, -signal.SIGKILL), f"{name} ended with {process.exitcode}"
                self.deaths += process.exitcode != 0
                del self.workers[name]
        while len(self.workers) < self.size and self.unfinished:
            name = f"w{self.born}"
            self.born += 1
            self.workers[name] = _NURSERY.Process(target=work, args=(self.site, name), name=name)
            self.workers[name].start()

    def tend_until(self, reached: Callable[[], bool], seconds: float = 300.0) -> bool:
        """Whether it was reached before the time was over or the work was."""
        until = time.monotonic() + seconds
        while not reached() and time.monotonic() < until and self.unfinished:
            self.tend()
            time.sleep(0.02)
        return reached()

    @property
    def unfinished(self) -> int:
        """Parts that are not done."""
        queue = self.site.queue()
        try:
            return queue.counts().unfinished
        finally:
            queue.close()

    def claims(self, part_id: str) -> int:
        """How often the part was begun."""
        queue = self.site.queue()
        try:
            return queue.claims(part_id)
        finally:
            queue.close()

    def end(self) -> None:
        """Nothing of it stays behind."""
        for process in self.workers.values():
            process.kill()
            process.join()


def start_promoter(site: Site, bundles: list[str], seconds: float, pause: float) -> BaseProcess:
    """A writer of the registry as a process of its own."""
    arguments = (str(site.root / "registry"), site.root / "promotions.jsonl", seconds, pause, bundles)
    process = _NURSERY.Process(target=promote, args=arguments)
    process.start()
    return process
