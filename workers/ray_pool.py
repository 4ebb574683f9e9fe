"""Workers as Ray actors: start them, watch them, replace the dead and the stuck."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

import ray
from ray.exceptions import RayError

from autosteer_core.errors import AutosteerError, UserMistake, first_line
from autosteer_core.ports import GroupedQueue, PartQueue
from autosteer_core.serving import Serving
from autosteer_core.values import QueueCounts
from workers.broker import BrokerActor, BrokeredQueue
from workers.bundle_shelf import BundleShelf
from workers.loop import PartWorker
from workers.patience import Patience

T = TypeVar("T")

log = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds for a step to end

BuildWorker = Callable[[str, PartQueue], PartWorker]

# Such calls have a thread of their own: they do not wait for the work, which lasts as long as there are parts.
_beside_work = ray.method(concurrency_group="control")


class PoolFailed(AutosteerError):
    """Workers keep dying: the reason is in their logs, the run can be continued later."""


class ModelWorker:
    """One process with one model. A call loads the model, so that its errors reach the pool as they are."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shift = ""
        self._worker: PartWorker | None = None
        self._stopping = False

    def work(self, broker: Any, build: BuildWorker, shift: str) -> int:
        """Get ready for this broker's shift if this process is not yet, then work until nothing can be claimed."""
        if self._worker is None or self._shift != shift:
            self._worker = None  # the last run's engine goes before the next one comes
            self._worker, self._shift = build(self._name, BrokeredQueue(broker)), shift
        return self._worker.run(lambda: self._stopping)

    @_beside_work
    def stop(self) -> None:
        """Finish the current step, give the parts back, claim nothing more."""
        self._stopping = True

    @_beside_work
    def offer(self, files: Mapping[str, bytes]) -> bool:
        """As the shelf asks, while the work goes on; False before there is one: it will ask the registry itself."""
        shelf = self._shelf()
        return shelf is not None and bool(shelf.offer(files))

    @_beside_work
    def serve(self, serving: Serving) -> bool:
        """As the shelf asks; False as above."""
        shelf = self._shelf()
        if shelf is not None:
            shelf.serve(serving)
        return shelf is not None

    def _shelf(self) -> BundleShelf | None:
        worker = self._worker
        return worker.pins if worker and isinstance(worker.pins, BundleShelf) else None


# Replaced by the pool, not restarted by Ray: every call to an actor that is restarting fails like one more death.
ModelWorkerActor = ray.remote(max_restarts=0, max_task_retries=0, concurrency_groups={"control": 1})(ModelWorker)


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """`max_deaths` bounds deaths while nothing gets done; each waits `backoff_seconds` times their number."""

    workers: int = 2
    gpus_per_worker: float = 0.0
    max_deaths: int = 10
    backoff_seconds: float = 0.2
    poll_seconds: float = 0.5
    threads_per_worker: int = 1


@dataclass(slots=True)
class Pool:
    """Workers on a running Ray; a finished run leaves them as they are, for the next one."""

    options: PoolOptions
    clock: Callable[[], float] = time.time
    deaths: int = 0
    _vain: int = 0  # deaths since a part last got somewhere
    _settled: int = -1
    # Tokens start again when a lost queue is rebuilt, so a worker's name must not: it carries the pool's own id.
    pool_id: str = field(default_factory=lambda: uuid4().hex[:6])
    _actors: dict[str, Any] = field(default_factory=dict)
    _running: dict[Any, str] = field(default_factory=dict)
    _broker: Any = None
    _patience: Patience = field(default_factory=lambda: Patience(lambda: None))
    _shift: str = ""

    @contextmanager
    def serving(self, open_queue: Callable[[], GroupedQueue]) -> Iterator[PartQueue]:
        """A run's queue, owned by a broker for as long as this lasts; where all went well, the workers stay."""
        self._broker, self._shift = BrokerActor.remote(open_queue), uuid4().hex
        self.deaths = self._vain = 0
        try:
            yield BrokeredQueue(self._broker)
            self._await_idle()
        except BaseException:
            self.stop()
            raise
        finally:
            ray.kill(self._broker)
            self._broker = None

    def run(self, build: BuildWorker, workers: int) -> Iterator[QueueCounts]:
        """Work with at most `workers` until every part is done or buried; yields the counts at every poll.

        Raises:
            UserMistake: a worker refused its bundle, model or manifest.
            PoolFailed: workers died more often than `max_deaths` in a row, and no part got done or was halved.
        """
        counts = self._asked(BrokeredQueue.counts)
        while counts.unfinished:
            self._note_progress(counts)
            self._start_missing(build, min(workers, self.options.workers))
            self._collect()
            self._kill_stuck()
            counts = self._asked(BrokeredQueue.counts)
            yield counts

    def actors(self) -> dict[str, Any]:
        """Those that live as far as is known, by name; safe to ask from another thread."""
        return dict(self._actors)

    def stop(self) -> None:
        """Ask every worker to finish its step and give its parts back, wait for that, then end all of them."""
        for actor in self._actors.values():
            actor.stop.remote()
        if self._running:
            ray.wait(list(self._running), num_returns=len(self._running), timeout=_PATIENCE)
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors.clear()
        self._running.clear()

    def _await_idle(self) -> None:
        """Calls still on their way back; a worker that does not come back, or died, is not kept."""
        if self._running:
            ray.wait(list(self._running), num_returns=len(self._running), timeout=_PATIENCE)
        for call, name in self._running.items():
            try:
                ray.get(call, timeout=0)
            except (AutosteerError, RayError) as error:
                log.warning("%s is not kept (%s)", name, type(error).__name__)
                ray.kill(self._actors.pop(name))
        self._running.clear()

    def _start_missing(self, build: BuildWorker, workers: int) -> None:
        for number in range(workers):
            name = f"worker-{number}-{self.pool_id}"
            if name not in self._actors:
                self._actors[name] = self._actor(name)
            if name not in self._running.values():
                self._running[self._actors[name].work.remote(self._broker, build, self._shift)] = name

    def _actor(self, name: str) -> Any:
        threads = str(self.options.threads_per_worker)
        return ModelWorkerActor.options(
            num_cpus=1,
            num_gpus=self.options.gpus_per_worker,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}},
        ).remote(name)

    def _collect(self) -> None:
        """Take in finished and broken calls; a call ends when its worker found nothing to claim."""
        done, _ = ray.wait(list(self._running), num_returns=1, timeout=self.options.poll_seconds)
        for call in done:
            name = self._running.pop(call)
            try:
                ray.get(call)
                # Nothing to claim, but another worker still holds a part that it may lose.
                time.sleep(self.options.poll_seconds / 5)
            except UserMistake:
                raise
            except (AutosteerError, RayError) as error:
                self._replace(name, error)

    def _replace(self, name: str, error: Exception) -> None:
        """A worker that died or raised cannot be trusted any more: its process goes, a new one comes.

        Its call may or may not have run: the lease and the commit record decide, never Ray.
        """
        ray.kill(self._actors.pop(name))
        self.deaths += 1
        self._vain += 1
        log.warning("%s died (%s), death %d of the run", name, type(error).__name__, self.deaths)
        if self._vain > self.options.max_deaths:
            raise PoolFailed(
                f"workers died {self._vain} times and got nothing done ({first_line(error)}): look at their logs, "
                "then repeat the command to continue"
            ) from error
        self._asked(lambda queue: queue.forfeit(name, f"{name} died"))
        time.sleep(min(5.0, self.options.backoff_seconds * self._vain))

    def _asked(self, ask: Callable[[BrokeredQueue], T]) -> T:
        """What the queue says, even if its broker has to be started again first."""
        return self._patience.through(lambda: ask(BrokeredQueue(self._broker)))

    def _note_progress(self, counts: QueueCounts) -> None:
        """A row that kills its worker costs a death for every halving: those are no sign of a hopeless run."""
        settled = counts.done + counts.split + counts.buried
        if settled != self._settled:
            self._settled, self._vain = settled, 0

    def _kill_stuck(self) -> None:
        for name in self._asked(lambda queue: queue.overdue(self.clock())):
            if name in self._actors:
                log.error("%s has not renewed its lease in time: its process is killed", name)
                ray.kill(self._actors[name])
