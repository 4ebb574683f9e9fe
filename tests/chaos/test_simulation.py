"""Thousands of schedules of workers, deaths, sleepers, lost replies and lost queues: every row is visible once."""

import os
from collections import Counter
from collections.abc import Callable

import pytest

from tests.chaos.simulation import World

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SCHEDULES = round(10_000 * float(os.environ.get("CHAOS_SCALE", "1")))


def seeds() -> range:
    """One schedule where its seed is named, else as many as asked for."""
    seed = os.environ.get("CHAOS_SEED")
    return range(int(seed), int(seed) + 1) if seed else range(SCHEDULES)


def test_no_schedule_loses_doubles_or_blames_a_row(report: Callable[[str, object], None]) -> None:
    faults: Counter[str] = Counter()
    for seed in seeds():
        world = World(seed)
        world.run()
        faults.update(line.split(" ", 2)[-1].split(":")[0].split(" ", 1)[-1].strip() for line in world.trace)
    dealt = ", ".join(f"{name} {times:,}" for name, times in faults.most_common(6))
    report("simulated schedules, all sound", f"{len(seeds()):,} with {dealt}")
