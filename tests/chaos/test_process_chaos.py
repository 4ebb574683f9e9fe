"""Worker processes are killed and frozen at random instants: every row is visible once, and work goes on soon."""

import math
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from autosteer_core.ports import Clock, PartQueue
from infra.postgres_queue import PostgresQueue
from tests.chaos.herd import Herd, Seen, harass, hits, journal, read_as_a_stranger, recoveries
from tests.chaos.scale import SEED, scaled
from tests.chaos.worker_process import Site, behind, sqlite_queue

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

Report = Callable[[str, object], None]
OpenQueue = Callable[[Path, Clock], PartQueue]

ROWS, KILLS, ZOMBIES = 50_000, 500, 100
RECOVERY = "until a dead worker's part is claimed again, lease of 2 s"
SHARES = {"SQLite": 1.0, "PostgreSQL": 0.1}


def postgres_queue(address: str, name: str, folder: Path, clock: Clock) -> PartQueue:
    """The queue of many machines; its server's clock decides."""
    return PostgresQueue(address, name)


@pytest.fixture
def open_queue(kind: str, request: pytest.FixtureRequest) -> OpenQueue:
    if kind == "SQLite":
        return sqlite_queue
    return partial(postgres_queue, request.getfixturevalue("postgres_address"), uuid4().hex)


@pytest.mark.parametrize("kind", SHARES)
def test_killed_and_frozen_processes_cost_no_row_and_double_none(
    tmp_path: Path, report: Report, kind: str, open_queue: OpenQueue
) -> None:
    rows, kills, zombies = (scaled(round(number * SHARES[kind])) for number in (ROWS, KILLS, ZOMBIES))
    # Some work for every row: a run that ends in a blink cannot be hit so often.
    site = Site(tmp_path, max(2_000, rows), row_seconds=0.002, open_queue=open_queue, writer=behind)
    site.queue().add(site.parts())
    herd, started = Herd(site), time.monotonic()

    try:
        harass(herd, random.Random(SEED), kills, zombies)
        herd.end()
    finally:
        herd.stop()

    seconds, seen, events = time.monotonic() - started, read_as_a_stranger(site), journal(site)
    waits = recoveries(events, herd)
    dealt = f"{site.rows:,} / {len(herd.killed)} / {len(herd.frozen)} in {seconds:.0f} s"
    report(f"{kind}: rows / SIGKILLs / SIGSTOPs past the lease", dealt)
    report(f"{kind}: lost / duplicated / unexpected", f"{seen.lost} / {seen.duplicated} / {seen.unexpected}")
    report(f"{kind}: writes refused by the fence", sum(event.kind == "fenced" for event in events))
    report(f"{kind}: killed with a part in hand", f"{hits(events, herd)} of {len(herd.killed)}")
    report(f"{kind}: {RECOVERY}", spread(waits))
    assert seen == Seen(0, 0, 0)
    assert waits or kills < KILLS, "no recovery was seen"
    assert all(wait <= site.lease_seconds + 1 for wait in waits)


def spread(waits: list[float]) -> str:
    """In words."""
    if not waits:
        return "not seen"
    return f"{waits[len(waits) // 2]:.2f} s in the middle, {waits[-1]:.2f} s at most, of {len(waits)}"


def rows_done(herd: Herd, seconds: float, killed_every: float) -> int:
    """What is finished in this time, by the queue's word; the first second, when workers start, does not count."""
    luck = random.Random(SEED)
    herd.tend()
    time.sleep(1)
    started = time.time()
    next_kill = started + killed_every / 2
    while time.time() < started + seconds:
        herd.tend()
        if time.time() >= next_kill:
            herd.kill(luck.choice(sorted(herd.awake)))
            next_kill += killed_every
        time.sleep(0.02)
    herd.stop()
    done = (event for event in journal(herd.site) if event.kind == "complete" and started <= event.at)
    return sum(event.stop - event.start for event in done)


def busy_herd(folder: Path) -> Herd:
    """Three workers with more to do than they can."""
    folder.mkdir()
    site = Site(folder, 200_000, row_seconds=0.002, writer=behind)
    site.queue().add(site.parts())
    return Herd(site)


def test_a_kill_every_ten_seconds_costs_less_than_a_fifth_of_the_rate(tmp_path: Path, report: Report) -> None:
    seconds, quiet, harassed = max(8, scaled(20)), 0, 0
    herd = busy_herd(tmp_path / "harassed")

    for turn in range(2):  # in turns, because a machine has other things to do now and then
        quiet += rows_done(busy_herd(tmp_path / f"quiet-{turn}"), seconds, math.inf)
        harassed += rows_done(herd, seconds, 10)

    words = f"{harassed / seconds / 2:.0f} of {quiet / seconds / 2:.0f} rows a second, {harassed / quiet:.0%}"
    report("SQLite: rate with a kill every 10 s, of the rate without", words)
    waits = recoveries(journal(herd.site), herd)
    report(f"SQLite: the same, {RECOVERY}", spread(waits))
    assert harassed >= 0.8 * quiet
    assert waits and waits[-1] <= herd.site.lease_seconds + 1
