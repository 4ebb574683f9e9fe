"""Workers, a queue and a store in one process, in an order that a seed decides, with faults at the calls between.

The workers are the real loop, lifeline, patience and commit protocol, each in a greenlet: at every call of a port it
hands over, and the scheduler decides who goes on and what becomes of the call.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenlet import greenlet

from autosteer_core.commit import read_part, seal
from autosteer_core.engine import in_chunks
from autosteer_core.errors import AutosteerError, Unreachable
from autosteer_core.records import read_records
from autosteer_core.values import Action, Item, Lease, Part, PartId, Verdict
from infra.memory_queue import MemoryQueue
from infra.memory_store import MemoryStore
from tests.doubles import FakeClock, Numbers
from workers.lifeline import Lifeline
from workers.loop import PartWorker
from workers.patience import Patience

ROWS, ROWS_PER_PART, WORKERS, LEASE = 20, 5, 3, 30.0
FENCED = {"renew", "complete", "release", "bury", "split"}
_MOST_STEPS = 4000


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


class Broken(AssertionError):
    """A promise that did not hold, with what led there."""


class Mortal(PartWorker):
    """A process that is killed gives nothing back."""

    def _give_all_back(self, *args: Any) -> None:
        if not isinstance(sys.exc_info()[1], Killed):
            super()._give_all_back(*args)


@dataclass(frozen=True)
class Parts:
    """What a schedule is made of; a negative control replaces one of them by one whose guard is off."""

    queue: Callable[[FakeClock], MemoryQueue] = MemoryQueue
    store: Callable[[], MemoryStore] = MemoryStore
    worker: type[PartWorker] = Mortal
    poison: int = 1
    faults: int = 8
    lost_queues: int = 1


class Agent:
    """One worker in a greenlet of its own; `wakes_at` is later than now while it is frozen."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.wakes_at, self.ended = 0.0, False
        self._life = greenlet(self._live)

    def resume(self) -> None:
        """Let it run to its next call."""
        self._life.switch()

    def hand_over(self) -> None:
        """Called by the worker itself."""
        self._life.parent.switch()

    def _live(self) -> None:
        try:
            self.world.worker(self).run(lambda: False)
        except Killed:
            pass
        except AutosteerError as error:
            self.world.note(self, f"ends: {error}")
        self.ended = True


class Port:
    """The queue or the store as one worker sees it: every call may be the last, be lost, or take for ever."""

    def __init__(self, agent: Agent, name: str) -> None:
        self._agent, self._name = agent, name

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._agent.world.call(self._agent, self._name, method, args, kwargs)

        return call


@dataclass
class World:
    """One schedule."""

    seed: int
    made_of: Parts = Parts()
    trace: list[str] = field(default_factory=list)
    crashes: Counter[tuple[int, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.luck = random.Random(self.seed)
        random.seed(self.seed)  # what a worker draws while it waits
        self.clock, self.manifest, self.store = FakeClock(), Numbers(ROWS), self.made_of.store()
        self.parts = [Part(PartId(f"p{at}"), "f", at, at + ROWS_PER_PART) for at in range(0, ROWS, ROWS_PER_PART)]
        self.faults, self.lost_queues = self.made_of.faults, self.made_of.lost_queues
        self.poison = set(self.luck.sample(range(ROWS), self.made_of.poison))
        self.agents: list[Agent] = []
        self.born = self.steps = 0
        self.records: dict[str, bytes] = {}
        self.open_queue()

    def open_queue(self) -> None:
        """As the driver does it: what is decided is read from the store, all else is to be done."""
        known = read_records(self.store)
        self.queue = self.made_of.queue(self.clock)
        self.queue.add(list(known.leaves(self.parts)))
        self.queue.mark_done(sorted(known.commits))
        self.latest: dict[str, tuple[str, int]] = {}

    def run(self) -> None:
        """Until everything is done and every sleeper has woken; then the output is read as a stranger would.

        Raises:
            Broken: a promise did not hold.
        """
        while self.queue.counts().unfinished or any(not agent.ended for agent in self.agents):
            self.steps += 1
            if self.steps > _MOST_STEPS:
                raise self.broken("it does not end")
            self._tick()
        self._read()

    def worker(self, agent: Agent) -> PartWorker:
        """The real loop over ports that hand over."""
        queue, store = Port(agent, "queue"), Port(agent, "store")
        lifeline = Lifeline(queue, LEASE, self.clock.now)

        def encode(rows: Sequence[Verdict], lease: Lease) -> bytes:
            # Attempts differ in their bytes, as those of a model do in their last digits.
            return json.dumps([[row.row, row.flaw and row.flaw.code, agent.name] for row in rows]).encode()

        patience = Patience(lifeline.pulse, lambda seconds: self.clock.advance(seconds), slice_seconds=10.0)
        judge = in_chunks(self._judge, 2)
        return self.made_of.worker(
            agent.name, queue, store, self.manifest, judge, encode, lifeline, patience, most_parts=2
        )

    def call(self, agent: Agent, port: str, method: str, args: Any, kwargs: Any) -> Any:
        """One call of a port, with what becomes of it."""
        agent.hand_over()
        fault = self._fault()
        if fault:
            self.note(agent, f"{fault}: {port}.{method}")
        if fault == "dies before":
            raise Killed
        if fault == "is frozen":
            agent.wakes_at = self.clock.now() + self.luck.uniform(0.5, 3) * LEASE
            agent.hand_over()
        if fault == "is refused":
            raise Unreachable(f"{port} is away")
        answer = self._done(agent, port, method, args, kwargs)
        if fault == "dies after":
            raise Killed
        if fault == "never hears":
            raise Unreachable(f"{port} took it and went away")
        return answer

    def note(self, agent: Agent, what: str) -> None:
        """Remember what happened, for whoever has to understand a failure."""
        self.trace.append(f"{self.clock.now():7.1f} {agent.name} {what}")

    def broken(self, what: str) -> Broken:
        """The failure with the seed that repeats it."""
        return Broken("\n".join([f"{what} (CHAOS_SEED={self.seed} repeats it)", *self.trace[-40:]]))

    def _tick(self) -> None:
        alive = [agent for agent in self.agents if not agent.ended]
        awake = [agent for agent in alive if agent.wakes_at <= self.clock.now()]
        if len(awake) < WORKERS and self.queue.counts().unfinished:
            awake.append(self._born())
        if not awake:
            self.clock.advance(LEASE / 3)
            return
        agent = self.luck.choice(awake)
        agent.resume()
        if self.luck.random() < 0.05:
            self.clock.advance(self.luck.choice([0.5, 5, LEASE + 1, -5]))
        if self.lost_queues and self.luck.random() < 0.01:
            self.lost_queues -= 1
            self.trace.append("the queue is lost and rebuilt")
            self.open_queue()

    def _born(self) -> Agent:
        self.born += 1
        agent = Agent(self, f"w{self.born}")
        self.agents.append(agent)
        return agent

    def _fault(self) -> str | None:
        if not self.faults or self.luck.random() > 0.08:
            return None
        self.faults -= 1
        return self.luck.choice(["dies before", "dies after", "is frozen", "is frozen", "is refused", "never hears"])

    def _done(self, agent: Agent, port: str, method: str, args: Any, kwargs: Any) -> Any:
        """The call itself, and what must hold around it."""
        target = getattr(self, port)
        if method == "claim":
            leases = target.claim(*args, **kwargs)
            for lease in leases:
                self._claimed(lease)
            return leases
        answer = getattr(target, method)(*args, **kwargs)
        if method in FENCED and self.latest.get(args[0].part.part_id) != (args[0].worker, args[0].token):
            raise self.broken(f"{method} was accepted under the void lease of {agent.name}")
        self._check()
        return answer

    def _claimed(self, lease: Lease) -> None:
        part = lease.part
        self.latest[part.part_id] = (lease.worker, lease.token)
        if lease.crashes:
            self.crashes[part.start, part.stop] = max(self.crashes[part.start, part.stop], lease.crashes)

    def _check(self) -> None:
        """After every call: what is done is decided, and what was decided stays."""
        for key in self.store.keys("commits/"):
            data = self.store.get(key)
            if self.records.setdefault(key, data) != data:
                raise self.broken(f"{key} was written twice")
        for part_id, entry in self.queue._entries.items():
            if entry.state in ("done", "split") and f"commits/{part_id}.json" not in self.records:
                raise self.broken(f"{part_id} is {entry.state} in the queue, and nothing is decided in the store")

    def _judge(self, items: Sequence[Item]) -> list[Verdict]:
        if any(item.row in self.poison for item in items):
            raise Killed
        return [Verdict(item.item_id, item.row, Action.ANSWER, 0.0, "") for item in items]

    def _read(self) -> None:
        try:
            records = seal(self.store, self.parts, self.manifest.row_ids())
            rows = [row for record in records for row in json.loads(read_part(self.store, record))]
        except AutosteerError as error:
            raise self.broken(str(error)) from error
        if [number for number, _, _ in rows] != list(range(ROWS)):
            raise self.broken(f"rows {[number for number, _, _ in rows]} are visible")
        blamed = {number for number, code, _ in rows if code}
        innocent = {row for row in blamed - self.poison if self._deaths(row) < 3}
        if self.poison - blamed or innocent:
            raise self.broken(f"blamed are {sorted(blamed)}, poisonous {sorted(self.poison)}")

    def _deaths(self, row: int) -> int:
        """How often a worker died, or seemed to, with this row; it must have been alone once."""
        with_it = {span: deaths for span, deaths in self.crashes.items() if span[0] <= row < span[1]}
        alone = with_it.get((row, row + 1), 0)
        return sum(with_it.values()) if alone else 0
