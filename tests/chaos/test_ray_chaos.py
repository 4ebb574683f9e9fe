"""Actors, drivers and the head of Ray are killed under a real pool: the run is finished, every row is there once."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.chaos.herd import Seen, read_as_a_stranger
from tests.chaos.ray_run import site_at
from tests.chaos.scale import SEED, scaled

pytestmark = [pytest.mark.chaos, pytest.mark.ray, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
ACTOR_KILLS, DRIVER_KILLS, HEAD_LOSSES, ROWS = 30, 5, 2, 6_000
_RAY_GAVE_UP = "Exception: The current node timed out during startup"
_PATIENCE = 300.0  # seconds for something to get done; Ray alone takes many on a busy machine


@dataclass
class Cluster:
    """One driver with its own Ray; `seen` are all processes that it ever had, so that none stays behind."""

    folder: Path
    rows: int
    seen: set[psutil.Process] = field(default_factory=set)

    def __post_init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(self.folder / "state")}
        command = [sys.executable, "-m", "tests.chaos.ray_run", str(self.folder), str(self.rows)]
        log = (self.folder / "drivers").open("ab")
        self.driver = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        log.close()

    def processes(self, kind: str) -> list[psutil.Process]:
        """Those alive whose command line names `kind`."""
        self.seen.update(psutil.Process(self.driver.pid).children(recursive=True))
        return [process for process in self.seen if _alive(process) and any(kind in word for word in _words(process))]

    def end(self) -> None:
        """Whatever is left of it goes."""
        self.driver.kill()
        self.driver.wait()
        for process in self.seen:
            if _alive(process):
                process.kill()


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


class Campaign:
    """Blows, each after some more work was done, and the clusters that took them."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.site, self.luck = site_at(folder, rows), random.Random(SEED)
        self.clusters = [self.new_cluster()]
        self.zombies_at_work = 0

    @property
    def cluster(self) -> Cluster:
        return self.clusters[-1]

    def new_cluster(self) -> Cluster:
        return Cluster(self.site.folder, self.site.rows)

    def commits(self) -> int:
        return sum(1 for _ in self.site.store.keys("commits/"))

    def kill_an_actor(self) -> None:
        self.luck.choice(sorted(self._working_actors(), key=lambda process: process.pid)).kill()

    def kill_the_driver(self) -> None:
        """Its Ray lives on for a moment, with workers that do not know."""
        self._working_actors()
        self.cluster.driver.kill()
        self.clusters.append(self.new_cluster())

    def lose_the_head(self) -> None:
        """The workers of the old head go on for up to a minute; a new one starts on the same queue meanwhile."""
        self._working_actors()
        (head,) = self.cluster.processes("gcs_server")
        head.kill()
        old = self.cluster
        self.clusters.append(self.new_cluster())
        self._working_actors()
        self.zombies_at_work += bool(old.processes("ModelWorker"))

    def finish(self) -> None:
        """The last driver ends well."""
        while self.cluster.driver.wait(_PATIENCE):
            self._repeat()

    def _repeat(self) -> None:
        """On a machine that is very busy Ray may give up its own start; nothing else may end a driver by itself."""
        log = (self.site.folder / "drivers").read_text()
        assert self.cluster.driver.returncode and log.rstrip().rsplit("\n", 1)[-1].startswith(_RAY_GAVE_UP), log[
            -2000:
        ]
        self.cluster.end()
        self.clusters.append(self.new_cluster())

    def _working_actors(self) -> list[psutil.Process]:
        """Some actors, once something new was committed since the last blow."""
        before, deadline = self.commits(), time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if self.cluster.driver.poll() is not None:
                self._repeat()
            actors = self.cluster.processes("ModelWorker")
            if actors and self.commits() >= before + 2:
                time.sleep(self.luck.uniform(0, 0.5))
                return [actor for actor in actors if _alive(actor)] or self._working_actors()
            time.sleep(0.05)
        raise AssertionError("nothing gets done")


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    rows = max(2_000, scaled(ROWS))
    campaign = Campaign(tmp_path, rows)
    yield campaign
    for cluster in campaign.clusters:
        cluster.end()


def test_killed_actors_drivers_and_heads_cost_no_row_and_double_none(
    campaign: Campaign, report: Callable[[str, object], None]
) -> None:
    blows = {"actor": scaled(ACTOR_KILLS), "driver": scaled(DRIVER_KILLS), "head": scaled(HEAD_LOSSES)}
    started = time.monotonic()

    for driver in range(blows["driver"]):
        for _ in range(driver, blows["actor"], blows["driver"]):
            campaign.kill_an_actor()
        campaign.kill_the_driver()
    for _ in range(blows["head"]):
        campaign.lose_the_head()
    campaign.finish()

    seen, seconds = read_as_a_stranger(campaign.site), time.monotonic() - started
    report(
        "Ray: actor kills / driver kills / head losses", f"{' / '.join(map(str, blows.values()))} in {seconds:.0f} s"
    )
    report("Ray: head losses whose workers were alive when the new head's had begun", campaign.zombies_at_work)
    report("Ray: lost / duplicated / unexpected", f"{seen.lost} / {seen.duplicated} / {seen.unexpected}")
    assert seen == Seen(0, 0, 0)
    assert campaign.zombies_at_work == blows["head"]
