"""Worker processes that are killed, frozen, woken and replaced, and what is visible of their work afterwards."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess

from autosteer_core.commit import SEALED, seal
from tests.chaos.worker_process import Site, rows_of, work

# Forked from a process that has everything loaded: a worker that lives for a tenth of a second must not take longer
# than that to be born.
_NURSERY = multiprocessing.get_context("forkserver")
_NURSERY.set_forkserver_preload(["pytest", "tests.chaos.worker_process"])


@dataclass
class Herd:
    """At most `size` workers are awake at once; those that sleep come back when their time is over."""

    site: Site
    size: int = 3
    awake: dict[str, BaseProcess] = field(default_factory=dict)
    asleep: dict[str, tuple[float, BaseProcess]] = field(default_factory=dict)
    killed: list[tuple[float, str]] = field(default_factory=list)
    frozen: list[tuple[float, float]] = field(default_factory=list)
    born: int = 0

    def tend(self) -> None:
        """Wake whose time has come, bury the dead, start as many as are missing."""
        for name, (wakes_at, process) in list(self.asleep.items()):
            if time.time() >= wakes_at:
                _signal(process, signal.SIGCONT)
                self.awake[name] = process
                del self.asleep[name]
        self.awake = {name: process for name, process in self.awake.items() if process.is_alive()}
        while len(self.awake) < self.size:
            self._start()

    def kill(self, name: str) -> None:
        """As the kernel does it when memory runs out."""
        process = self.awake.pop(name)
        _signal(process, signal.SIGKILL)
        process.join()
        self.killed.append((time.time(), name))

    def freeze(self, name: str, seconds: float) -> None:
        """Nothing of it runs for so long; then it goes on as if no time had passed."""
        process = self.awake.pop(name)
        _signal(process, signal.SIGSTOP)
        self.asleep[name] = (time.time() + seconds, process)
        self.frozen.append((time.time(), time.time() + seconds))

    def end(self) -> None:
        """Wait until everybody has seen that nothing is left to do; no one may have failed."""
        while self.asleep:
            self.tend_sleepers()
            time.sleep(0.05)
        for process in self.awake.values():
            process.join(30)
            assert process.exitcode == 0, f"{process.name} ended with {process.exitcode}"

    def tend_sleepers(self) -> None:
        """Wake whose time has come; nobody new is started."""
        size, self.size = self.size, 0
        self.tend()
        self.size = size

    def stop(self) -> None:
        """After a failure: nothing of ours goes on running."""
        for process in [*self.awake.values(), *(process for _, process in self.asleep.values())]:
            _signal(process, signal.SIGKILL)
            process.join()

    def _start(self) -> None:
        name, self.born = f"w{self.born}", self.born + 1
        process = _NURSERY.Process(target=work, args=(self.site, name), name=name)
        process.start()
        self.awake[name] = process


def _signal(process: BaseProcess, number: int) -> None:
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, number)


def harass(herd: Herd, luck: random.Random, kills: int, zombies: int) -> None:
    """So many of each, spread over the run by how much of it is done, so that a slow machine gets as many.

    Nobody is frozen in the first third: there it can be seen how long a kill alone holds the work up.
    """
    site, queue = herd.site, herd.site.queue()
    blows = [(luck.uniform(0.01, 0.7), herd.kill) for _ in range(kills)]
    blows += [(luck.uniform(0.33, 0.7), lambda name: herd.freeze(name, luck.uniform(1.2, 2.0) * site.lease_seconds))
              for _ in range(zombies)]  # fmt: skip
    blows.sort(key=lambda blow: blow[0], reverse=True)
    while (counts := queue.counts()).unfinished:
        herd.tend()
        # All that are due, so that a fast machine does not finish before the last of them.
        while blows and counts.done / (counts.done + counts.unfinished) >= blows[-1][0]:
            _, blow = blows.pop()
            blow(luck.choice(sorted(herd.awake)))
            herd.tend()
        time.sleep(luck.uniform(0.005, 0.03))
    queue.close()
    assert not blows, "the run ended before all blows were dealt"


@dataclass(frozen=True)
class Seen:
    """What a reader finds who follows the list of parts."""

    lost: int
    duplicated: int
    unexpected: int


def read_as_a_stranger(site: Site) -> Seen:
    """Seal the output as the driver does, then count the rows."""
    store = site.store
    seal(store, site.parts(), site.manifest.row_ids())
    listed = json.loads(store.get(SEALED))["parts"]
    rows = [row for part in listed for row in rows_of(store.get(part["key"]))]
    seen = Counter(row for row, _ in rows)
    wanted = set(range(site.rows))
    return Seen(
        lost=len(wanted - seen.keys()),
        duplicated=sum(times - 1 for times in seen.values()),
        unexpected=len(seen.keys() - wanted) + sum(code is not None for _, code in rows),
    )


@dataclass(frozen=True)
class Event:
    """One line of the journal."""

    at: float
    kind: str
    worker: str
    part_id: str
    start: int
    stop: int


def journal(site: Site) -> list[Event]:
    """Everything that happened, in order."""
    return sorted((Event(*json.loads(line)) for line in site.journal.open()), key=lambda event: event.at)


def hits(events: list[Event], herd: Herd) -> int:
    """How many of the killed had a part in hand."""
    return sum(bool(_held(events, worker)) for _, worker in herd.killed)


def recoveries(events: list[Event], herd: Herd) -> list[float]:
    """Seconds from each kill until another worker had each part of the dead one, where nobody was frozen meanwhile.

    A process that is frozen in the middle of a write holds up all others: that wait is not what is measured here.
    """
    waits = (
        (at, _claimed_again(events, part_id, at)) for at, worker in herd.killed for part_id in _held(events, worker)
    )
    return sorted(
        again - at
        for at, again in waits
        if again is not None and not any(asleep < again and at < awake for asleep, awake in herd.frozen)
    )


def _claimed_again(events: list[Event], part_id: str, after: float) -> float | None:
    later = (event.at for event in events if (event.part_id, event.kind) == (part_id, "claim") and event.at > after)
    return next(later, None)


def _held(events: list[Event], worker: str) -> set[str]:
    """What it had claimed and not got rid of."""
    held: set[str] = set()
    for event in events:
        if event.worker == worker:
            (held.add if event.kind == "claim" else held.discard)(event.part_id)
    return held
