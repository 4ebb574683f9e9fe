"""What a registry of a thousand changes costs: to look at it again, to read all of it, to change it."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.folder_store import FolderStore
from tests.loop.scale import scaled
from tests.registries import published, registry

pytestmark = [pytest.mark.loop, pytest.mark.timeout(900)]

CHANGES, LOOKS = 1_000, 1_000


def milliseconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return 1_000 * (time.perf_counter() - start)


def test_looking_again_costs_one_look_however_long_the_log_is(
    tmp_path: Path, report: Callable[[str, object], None]
) -> None:
    store, changes = FolderStore(tmp_path), scaled(CHANGES)
    ids = published(store, 2)
    ours = registry(store)
    promotions = sorted(
        milliseconds(lambda turn=turn: ours.promote(ids[turn % 2], "its turn", "ann")) for turn in range(changes)
    )
    whole = milliseconds(lambda: registry(store).state())
    looks = sorted(milliseconds(ours.state) for _ in range(LOOKS))

    assert ours.state().number == changes + 2
    assert looks[LOOKS // 2] < whole / 10
    report(
        "a registry's state, looked at again", f"p50 {looks[LOOKS // 2]:.3f} ms, p99 {looks[-LOOKS // 100]:.3f} ms"
    )
    report(f"a registry's state, all {changes + 2} entries", f"{whole:.0f} ms")
    report(
        "a promotion on a disk",
        f"p50 {promotions[changes // 2]:.1f} ms, p99 {promotions[-1 - changes // 100]:.1f} ms",
    )
