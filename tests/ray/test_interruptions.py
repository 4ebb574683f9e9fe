"""Killed actors, killed drivers and Ctrl-C: the same command finishes, every item has exactly one row."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.workspace import Workspace, make_workspace

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROWS = 480


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("runs"), ROWS)


def wait_for_commits(workspace: Workspace, out: str, count: int, driver: subprocess.Popen[str]) -> None:
    """Until some parts are committed and some are not: then an interruption hits work in flight."""
    deadline = time.monotonic() + 120
    while workspace.commits(out) < count:
        assert driver.poll() is None, f"the run ended early: {driver.communicate()}"
        assert time.monotonic() < deadline, "no part was committed in time"
        time.sleep(0.02)


def actors(driver: subprocess.Popen[str], kind: str) -> list[psutil.Process]:
    """The actor processes of this driver's own Ray, no other."""
    return [
        child
        for child in psutil.Process(driver.pid).children(recursive=True)
        if any(kind in word for word in child.cmdline())
    ]


def test_actors_and_the_queues_owner_killed_in_the_middle_cost_no_row(workspace: Workspace) -> None:
    driver = workspace.start(workspace.generate("actor"))
    for commits in (4, 16, 28):
        wait_for_commits(workspace, "actor", commits, driver)
        victims = actors(driver, "ModelWorker")
        assert victims
        victims[0].kill()
    wait_for_commits(workspace, "actor", 40, driver)
    (broker,) = actors(driver, "::Broker")
    broker.kill()

    _, errors = driver.communicate(timeout=200)

    assert driver.returncode == 0, errors
    # A death is counted once, however long its replacement takes to load the model.
    assert "death 3 of the run" in errors
    assert "death 4 of the run" not in errors
    workspace.assert_every_item_has_one_row("actor")


def test_after_ctrl_c_a_killed_driver_and_a_lost_queue_the_same_command_finishes(workspace: Workspace) -> None:
    driver = workspace.start(workspace.generate("thrice"))
    wait_for_commits(workspace, "thrice", 3, driver)
    os.killpg(driver.pid, signal.SIGINT)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "repeat the command to continue" in errors
    assert "Traceback" not in errors

    before = workspace.commits("thrice")
    driver = workspace.start(workspace.generate("thrice"))
    wait_for_commits(workspace, "thrice", before + 5, driver)
    driver.kill()
    driver.communicate()
    for file in Path(workspace.root, "thrice", ".queue").iterdir():
        file.unlink()
    finished = workspace.run(workspace.generate("thrice"))

    assert finished.returncode == 0, finished.stderr
    assert 3 <= before < workspace.commits("thrice") == ROWS // 8
    workspace.assert_every_item_has_one_row("thrice")


def test_a_stopped_actor_loses_its_lease_and_its_part_is_done_by_another(workspace: Workspace) -> None:
    driver = workspace.start(workspace.generate("stopped", "items.parquet", "--set", "lease_seconds=3"))
    wait_for_commits(workspace, "stopped", 3, driver)
    actors(driver, "ModelWorker")[0].suspend()  # Ray never notices; the lease does

    _, errors = driver.communicate(timeout=200)

    assert driver.returncode == 0, errors
    workspace.assert_every_item_has_one_row("stopped")
