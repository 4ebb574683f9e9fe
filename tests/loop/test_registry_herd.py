"""Many change one registry and are killed at random: every change that was answered stands, in one order."""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autosteer_core.audit_log import breaks, entries
from autosteer_core.bundle_reading import admit
from autosteer_core.registry import State
from autosteer_core.registry_state import after
from infra.folder_store import FolderStore
from tests.bundle_bytes import TRUST
from tests.faults.test_two_promoters import race
from tests.loop.promoters import FORK, Told, keep_changing
from tests.loop.scale import SEED, scaled
from tests.registries import published, registry

pytestmark = [pytest.mark.loop, pytest.mark.timeout(900)]

WRITERS, KILLS, ROUNDS = 4, 60, 20


def states(store: FolderStore) -> dict[int, State]:
    """After each entry."""
    found, state = {0: State()}, State()
    for entry in entries(store):
        state = after(state, entry)
        found[entry.number] = state
    return found


def answered(folder: Path) -> list[Told]:
    """A line that a kill cut off was not answered."""
    lines = [line for file in folder.glob("*.journal") for line in file.read_text().splitlines(keepends=True)]
    return [Told(*json.loads(line)) for line in lines if line.endswith("\n")]


def test_every_change_that_was_answered_stands_in_one_order(
    tmp_path: Path, report: Callable[[str, object], None]
) -> None:
    luck, address = random.Random(SEED), str(tmp_path / "registry")
    ids = published(FolderStore(tmp_path / "registry"), 5)
    registry(FolderStore(tmp_path / "registry")).promote(ids[0], "to begin with", "ann")

    def writer(number: int) -> object:
        process = FORK.Process(
            target=keep_changing, args=(address, ids, SEED + number, tmp_path / f"{number}.journal")
        )
        process.start()
        return process

    herd = [writer(number) for number in range(WRITERS)]
    kills = scaled(KILLS)
    for kill in range(kills):
        time.sleep(luck.uniform(0.05, 0.4))
        place = luck.randrange(WRITERS)
        herd[place].kill()
        herd[place].join()
        herd[place] = writer(WRITERS + kill)
    for process in herd:
        process.kill()
        process.join()

    store = FolderStore(tmp_path / "registry")
    course, told = states(store), answered(tmp_path)
    assert list(breaks(store)) == []
    assert len(told) > kills
    assert [each for each in told if Told.of(course[each.number]) != each] == []
    epochs = [state.epoch for state in course.values()]
    assert epochs == sorted(epochs)
    last = registry(store).state()
    assert last == course[max(course)] and last.serving
    assert admit(registry(store).files(last.serving), TRUST).epoch == last.epoch
    report(
        "registry writers killed at random",
        f"{kills} kills, {len(told)} answered changes, 0 lost, {len(epochs) - 1} entries",
    )


def test_one_of_eight_promoters_wins_every_round(tmp_path: Path, report: Callable[[str, object], None]) -> None:
    rounds = scaled(ROUNDS)
    for number in range(rounds):
        assert race(str(tmp_path / str(number)), 8) == {None: 1, "E_REGISTRY_MOVED": 7}
    report("promoters at once", f"{rounds} rounds of 8: 1 won, 7 were told E_REGISTRY_MOVED, each time")
