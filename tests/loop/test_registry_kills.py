"""Whoever changes a registry and is killed leaves the state before or the state after, never one between."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from autosteer_core.audit_log import breaks
from autosteer_core.bundle_reading import admit
from autosteer_core.registry import Published, State
from infra.folder_store import FolderStore
from tests.bundle_bytes import TRUST
from tests.loop.registry_process import killed_at, steps_of
from tests.registries import files, numbered, published, registry

pytestmark = [pytest.mark.loop, pytest.mark.timeout(900)]

Act = Callable[[Path], object]
FIRST, SECOND, NEW = (numbered(number).bundle_id for number in range(3))


def publish(folder: Path) -> object:
    return registry(FolderStore(folder)).publish(files(2), Published(parent=FIRST, seed=2))


def shadow(folder: Path) -> object:
    return registry(FolderStore(folder)).shadow(SECOND, "look at it")


def canary(folder: Path) -> object:
    return registry(FolderStore(folder)).canary(SECOND, 0.1, "a tenth")


def promote(folder: Path) -> object:
    return registry(FolderStore(folder)).promote(SECOND, "better", "ann")


def roll_back(folder: Path) -> object:
    return registry(FolderStore(folder)).roll_back("worse", "ann")


def recall(folder: Path) -> object:
    return registry(FolderStore(folder)).recall(SECOND, "it let harm through", "ann")


# What is done to a registry in which the first of two candidates serves, and the act that is killed.
LIVES: dict[str, list[Act]] = {
    "publish": [publish],
    "shadow": [shadow],
    "canary": [shadow, canary],
    "promote": [promote],
    "promote a canary": [shadow, canary, promote],
    "roll back": [promote, roll_back],
    "recall": [promote, roll_back, recall],
}


def staged(folder: Path, acts: list[Act]) -> Path:
    store = FolderStore(folder)
    published(store, 2)
    registry(store).promote(FIRST, "the first", "ann")
    for act in acts:
        act(folder)
    return folder


def state_of(folder: Path) -> State:
    """As a stranger reads it, who also loads what serves."""
    store = FolderStore(folder)
    state = registry(store).state()
    assert list(breaks(store)) == []
    assert state.serving is not None
    served = admit(registry(store).files(state.serving), TRUST)
    assert (served.bundle.bundle_id, served.epoch) == (state.serving, state.epoch)
    return state


@pytest.mark.parametrize("life", LIVES)
def test_a_writer_killed_at_any_step_leaves_the_state_before_or_after(
    tmp_path: Path, life: str, report: Callable[[str, object], None]
) -> None:
    *earlier, act = LIVES[life]
    start = staged(tmp_path / "start", earlier)
    before = state_of(start)
    whole = shutil.copytree(start, tmp_path / "whole")
    names = steps_of(lambda: act(whole))
    after = state_of(whole)
    found: Counter[str] = Counter()
    for step, name in enumerate(names):
        folder = shutil.copytree(start, tmp_path / str(step))
        assert killed_at(step, lambda folder=folder: act(folder)), name

        left = state_of(folder)
        assert left in (before, after), (step, name)
        found["after" if left == after else "before"] += 1

        if left == before:  # whoever comes next does it as if nobody had tried
            act(folder)
        assert state_of(folder) == after, (step, name)
        shutil.rmtree(folder)
    assert before != after and set(found) == {"before", "after"}
    report(f"registry writer killed while it would {life}", f"{len(names)} steps: {dict(found)}, 0 between")


def promote_in_two_writes(folder: Path) -> object:
    """As one might who keeps no log: what serves in one file, since when in another."""
    store = FolderStore(folder)
    store.put("serving", SECOND.encode())
    store.put("epoch", b"4")
    return None


def test_a_registry_of_two_writes_is_found_between_them(tmp_path: Path) -> None:
    """The control: these kills find what is half done."""

    def seen(folder: Path) -> tuple[bytes, bytes]:
        return FolderStore(folder).get("serving"), FolderStore(folder).get("epoch")

    start = tmp_path / "start"
    FolderStore(start).put("serving", FIRST.encode())
    FolderStore(start).put("epoch", b"3")
    whole = shutil.copytree(start, tmp_path / "whole")
    between = 0
    for step, name in enumerate(steps_of(lambda: promote_in_two_writes(whole))):
        folder = shutil.copytree(start, tmp_path / str(step))
        assert killed_at(step, lambda folder=folder: promote_in_two_writes(folder)), name
        between += seen(folder) not in (seen(start), seen(whole))
    assert between
