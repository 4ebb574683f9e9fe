"""Of several that promote by one state at once, one wins and the others are told."""

import shutil
from collections import Counter
from pathlib import Path

from infra.open_store import open_store
from tests.loop.promoters import FORK, promote_once
from tests.loop.registry_process import killed_at, steps_of
from tests.loop.test_registry_kills import FIRST, SECOND, promote, staged, state_of
from tests.registries import published, registry

WRITERS, ROUNDS = 4, 3


def race(address: str, writers: int) -> Counter[str | None]:
    """One round between processes; checks that what serves is what the winner was told."""
    store = open_store(address)
    ids = published(store, writers + 1)
    seen = registry(store).promote(ids[-1], "to begin with", "ann").number
    start, answers = FORK.Event(), FORK.Queue()
    processes = [FORK.Process(target=promote_once, args=(address, each, seen, start, answers)) for each in ids[:-1]]
    for process in processes:
        process.start()
    start.set()
    told = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert registry(store).state().serving in [bundle_id for bundle_id, code in told if code is None]
    return Counter(code for _, code in told)


def test_one_of_several_promoters_wins_on_a_disk(tmp_path: Path) -> None:
    for number in range(ROUNDS):
        found = race(str(tmp_path / str(number)), WRITERS)
        assert found == {None: 1, "E_REGISTRY_MOVED": WRITERS - 1}


def test_one_of_several_promoters_wins_in_a_bucket(s3_address: str) -> None:
    assert race(s3_address, 2) == {None: 1, "E_REGISTRY_MOVED": 1}


def test_a_promoter_that_is_killed_leaves_what_served_or_what_shall_serve(tmp_path: Path) -> None:
    """A few of the steps; `make loop` takes all of them, of every act."""
    start, whole = staged(tmp_path / "start", []), staged(tmp_path / "whole", [])
    last = len(steps_of(lambda: promote(whole))) - 1
    served = []
    for step in range(0, last + 1, last // 5):
        folder = shutil.copytree(start, tmp_path / str(step))
        assert killed_at(step, lambda folder=folder: promote(folder))
        served.append(state_of(folder).serving)

        promote(folder)
        assert state_of(folder).serving == SECOND
    assert served[0] == FIRST and served[-1] == SECOND and set(served) == {FIRST, SECOND}
