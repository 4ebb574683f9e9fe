"""A retraining that is killed anywhere leaves no half artefact, and the next one makes the same bundle."""

import multiprocessing
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from autosteer_core.audit_log import Deed, breaks, entries
from autosteer_core.bundle_reading import admit
from autosteer_core.errors import UserMistake
from autosteer_core.registry import Stage
from infra.folder_store import FolderStore
from pipelines.retrain import Outcome, Retrained, retrain_registry
from tests.bundle_bytes import TRUST
from tests.loop.registry_process import killed_at, steps_of
from tests.loop.scale import scaled
from tests.registries import registry
from tests.retrainings import REQUEST, learning, new_rows, serving

pytestmark = [pytest.mark.loop, pytest.mark.timeout(3600)]

LEASE = 0.3
REASONS = {"accepted": (), "refused": ("E_GATE_FLOOR: too low",)}


def retrained(folder: Path, reasons: tuple[str, ...]) -> Retrained:
    store = FolderStore(folder)
    request = replace(REQUEST, lease_seconds=LEASE)
    return retrain_registry(store, registry(store), learning(new_rows(), reasons), request, lambda step: None)


@pytest.mark.parametrize("verdict", REASONS)
def test_wherever_it_is_killed_nothing_half_is_left_and_the_next_one_makes_the_same_bundle(
    verdict: str, tmp_path: Path, report: Callable[[str, object], None]
) -> None:
    reasons, before = REASONS[verdict], tmp_path / "before"
    parent = serving(FolderStore(before))
    whole = shutil.copytree(before, tmp_path / "whole")
    expected: list[Retrained] = []
    names = steps_of(lambda: expected.append(retrained(whole, reasons)))
    # What is on the disk after one call is what is there before the next.
    befores = [step for step, name in enumerate(names) if name.startswith("before")]
    chosen = befores[:: max(1, len(befores) // scaled(len(befores)))]

    ends: Counter[str] = Counter()
    for step in chosen:
        folder = shutil.copytree(before, tmp_path / f"killed-{step}")
        assert killed_at(step, lambda at=folder: retrained(at, reasons)), f"step {step}, {names[step]}"
        _nothing_half(FolderStore(folder), parent, expected[0], bool(reasons))
        time.sleep(LEASE)
        done = retrained(folder, reasons)
        assert done.bundle_id == expected[0].bundle_id, f"step {step}, {names[step]}"
        ends[done.outcome] += 1
        _ended(FolderStore(folder))
        shutil.rmtree(folder)

    report(f"retrainings killed, {verdict}", len(chosen))
    report("  half artefacts or another bundle afterwards", 0)
    assert ends[Outcome.NOTHING] and ends[expected[0].outcome]


def test_of_retrainings_that_begin_together_exactly_one_runs(
    tmp_path: Path, report: Callable[[str, object], None]
) -> None:
    races = scaled(8)
    for race in range(races):
        folder = tmp_path / str(race)
        serving(FolderStore(folder))
        outcomes = _at_once(folder, 3)
        assert sorted(outcomes) == ["E_RETRAIN_RUNS", "E_RETRAIN_RUNS", "candidate"]
        _ended(FolderStore(folder))
    report("retrainings begun three at once", races)


def _nothing_half(store: FolderStore, parent: str, expected: Retrained, refused: bool) -> None:
    state = registry(store).state()
    assert not list(breaks(store)) and state.serving == parent
    for key in store.keys("materials/"):
        assert sha256(store.get(key)).hexdigest() in key
    for bundle_id, record in state.records.items():
        assert admit(registry(store).files(bundle_id), TRUST).bundle.bundle_id == bundle_id
        assert record.material and store.get(f"materials/{record.material}.parquet")
    assert set(state.records) <= {parent, expected.bundle_id}
    if refused and expected.bundle_id in state.records:
        assert state.stages[expected.bundle_id] is Stage.REFUSED


def _ended(store: FolderStore) -> None:
    begun, ended = (
        {entry.subject["retrain"] for entry in entries(store) if entry.deed == deed}
        for deed in (Deed.RETRAIN_STARTED, Deed.RETRAIN_ENDED)
    )
    assert begun == ended


def _at_once(folder: Path, count: int) -> list[str]:
    fork = multiprocessing.get_context("fork")
    barrier, found = fork.Barrier(count), fork.Queue()
    processes = [fork.Process(target=_one, args=(folder, barrier, found)) for _ in range(count)]
    for process in processes:
        process.start()
    outcomes = [found.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    return outcomes


def _one(folder: Path, barrier: Any, found: Any) -> None:
    """Gates that take their time, so that the others come while this one runs."""
    store = FolderStore(folder)
    told = learning(new_rows())

    def slow(*given: Any) -> tuple[str, ...]:
        time.sleep(3)
        return ()

    barrier.wait()
    try:
        request = replace(REQUEST, lease_seconds=30.0)
        done = retrain_registry(store, registry(store), replace(told, gate=slow), request, lambda step: None)
        found.put(str(done.outcome))
    except UserMistake as error:
        found.put(error.code)
