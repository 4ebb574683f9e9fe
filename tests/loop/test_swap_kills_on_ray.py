"""Actors, and drivers whose thread swaps, are killed at each step of a swap on Ray: their command is repeated."""

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipelines.registry_files import open_registry
from pipelines.verify import verify
from tests.loop.scale import SEED, scaled
from tests.loop.swap_notes import SWAPPER_STEPS, WORKER_STEPS, noted
from tests.loop.swap_workspace import Alone, Swaps, make_swaps

pytestmark = [pytest.mark.loop, pytest.mark.ray, pytest.mark.timeout(1800)]

ROWS, OUT = 1_600, "run"
_PATIENCE = 300.0  # seconds for something to happen; a Ray that starts takes many on a busy machine


class Drivers:
    """One driver at a time, with its own Ray; whoever died is replaced, as a person would repeat the command."""

    def __init__(self, swaps: Swaps) -> None:
        self.swaps, self.deaths = swaps, 0
        self.seen: set[psutil.Process] = set()
        self.driver: subprocess.Popen[bytes] | None = None

    def tend(self) -> bool:
        """False once the run is finished."""
        if self.driver is None or self.driver.poll() is not None:
            if self.driver is not None and self.driver.returncode == 0:
                return False
            if self.driver is not None:
                assert self.driver.returncode == -9, self.swaps.log()
                self.deaths += 1
            self.end()
            self.driver = self.swaps.drive(OUT)
        with suppress(psutil.NoSuchProcess):
            self.seen.update(psutil.Process(self.driver.pid).children(recursive=True))
        return True

    def tend_until(self, reached: Callable[[], bool]) -> bool:
        """Whether it was reached before the run was finished, or the patience at an end."""
        until = time.monotonic() + _PATIENCE
        while not reached() and time.monotonic() < until and self.tend():
            time.sleep(0.1)
        return reached()

    def end(self) -> None:
        """Whatever is left of a driver and its Ray goes."""
        if self.driver is not None:
            self.driver.kill()
            self.driver.wait()
        for process in self.seen:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.seen.clear()


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drivers]:
    """After some of the steps were deadly once, and the run was finished all the same."""
    swaps, steps = make_swaps(tmp_path_factory.mktemp("kills"), ROWS), list(WORKER_STEPS + SWAPPER_STEPS)
    found, registry = Drivers(swaps), open_registry(str(swaps.root / "registry"))
    if scaled(100) < 100:
        steps = random.Random(SEED).sample(WORKER_STEPS, 1) + random.Random(SEED).sample(SWAPPER_STEPS, 1)
    try:
        for number, step in enumerate(steps, 1):
            committed = swaps.commits(OUT)
            assert found.tend_until(lambda committed=committed: swaps.commits(OUT) > committed), swaps.log()  # type: ignore[misc]
            order = Path(swaps.notes, f"kill-{step}")
            order.touch()
            registry.promote(swaps.bundles[number % len(swaps.bundles)], f"the next, for {step}", "tests")
            assert found.tend_until(lambda order=order: not order.exists()), f"nobody came to the step {step}"  # type: ignore[misc]
        while found.tend():
            time.sleep(0.1)
        yield found
    finally:
        found.end()


def test_the_run_is_finished_and_sound(drivers: Drivers, report: Callable[[str, object], None]) -> None:
    report("killed on Ray", f"{drivers.deaths} drivers, {len(noted(drivers.swaps.notes))} actors were born")
    found = verify(str(drivers.swaps.root / OUT), str(drivers.swaps.root / "items.parquet"))

    assert (found.violations, found.finished, found.rows) == ([], True, ROWS)
    assert drivers.deaths > 0


def test_no_part_and_no_row_is_mixed(drivers: Drivers, report: Callable[[str, object], None]) -> None:
    alone, rows, wrong, seen = Alone.of(drivers.swaps), 0, 0, set()
    for record, found in drivers.swaps.parts(OUT):
        assert {row["bundle_id"] for row in found} == {record.bundle_id}
        seen.add(record.bundle_id)
        rows += len(found)
        wrong += sum(alone.differs(row, row["bundle_id"]) for row in found)
    report("rows of Ray's run that differ under their bundle alone", f"{wrong} of {rows}, {len(seen)} bundles")

    assert wrong == 0
    assert len(seen) > 1
