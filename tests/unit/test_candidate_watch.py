"""A candidate reads every row of a run, and is stopped by itself where it does harm."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autosteer_core.bundle import Bundle, to_files
from autosteer_core.bundle_reading import from_files
from autosteer_core.canary_guard import Counts, GuardLimits
from autosteer_core.errors import Unreachable
from autosteer_core.registry import Published, Registry, Stage
from autosteer_core.values import BundleId
from infra.folder_store import FolderStore
from pipelines.candidate_watch import GUARD, CandidateWatch, shadow_views
from tests.kept_run import KeptRun, bundle
from tests.registries import registry

GOOD = replace(bundle(), slices={})
HARSH = replace(GOOD, guarantee=replace(GOOD.guarantee, threshold=1e-6), slices={})
LAX = replace(GOOD, guarantee=replace(GOOD.guarantee, threshold=1.0), slices={})
SAME = replace(GOOD, refusal="Not that.")
LIMITS = GuardLimits(opened=0.1, closed=0.05)


class Watched:
    """A run of 160 items whose parts are committed as a test says, and a registry in which GOOD serves."""

    def __init__(self, root: Path) -> None:
        self.run = KeptRun(root / "run", rows=160, per_part=16, done=False)
        self.views = FolderStore(root / "registry")
        self.registry: Registry = registry(self.views)
        for made in (GOOD, HARSH, LAX, SAME):
            self.registry.publish(to_files(made), Published())
        self.registry.promote(GOOD.bundle_id, "the first", "a person")

    def load(self, bundle_id: BundleId) -> Bundle:
        return from_files(self.registry.files(bundle_id))

    def watch(self) -> CandidateWatch:
        return CandidateWatch((self.run.store, self.run.run.run_id), self.registry, self.views, self.load, LIMITS)

    def work(self, watch: CandidateWatch, by: Callable[[], Bundle], until: Callable[[], bool]) -> int:
        """Rows that are committed, part by part with a look after each, when `until` holds."""
        rows = 0
        for part in self.run.parts:
            self.run.commit(part, by())
            rows += part.rows
            watch.look()
            if until():
                return rows
        return -1

    def reason(self) -> tuple[str, str]:
        last = self.registry.state().moves()[-1]
        return last.who, last.reason


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_where_nothing_is_tried_nothing_is_read(watched: Watched) -> None:
    watched.run.repeat(GOOD)
    assert watched.watch().look() is None
    assert shadow_views(watched.views, GOOD.bundle_id) == []


def test_a_candidate_that_is_only_scored_reads_every_row_and_decides_nothing(watched: Watched) -> None:
    watched.registry.shadow(HARSH.bundle_id, "try it")
    watched.run.repeat(GOOD)
    watch, before = watched.watch(), watched.registry.state().number

    found = watch.finish()

    assert found is not None and found.rows == 159  # one could not be read
    opened = sum(not row.gate_open for row in watched.run.verdicts() if row.gate_open is not None)
    assert (found.opened, found.closed, found.decided) == (opened, 0, 0)
    [view] = shadow_views(watched.views, HARSH.bundle_id)
    assert (view["rows"], view["behind"], view["reference"]) == (159, 0, GOOD.bundle_id)
    assert "gates are open that were closed" in str(view["breach"])
    assert watched.registry.state().number == before


def test_a_canary_that_opens_too_many_gates_is_ended(watched: Watched) -> None:
    watched.registry.shadow(HARSH.bundle_id, "try it")
    watched.registry.canary(HARSH.bundle_id, 0.3, "on some parts")

    rows = watched.work(watched.watch(), lambda: GOOD, lambda: watched.registry.state().canary == 0)

    assert 0 < rows <= 48
    who, reason = watched.reason()
    assert who == GUARD and "gates are open that were closed, at most 10.0% may be" in reason
    assert watched.registry.state().serving == GOOD.bundle_id


@pytest.mark.parametrize(("bad", "what"), [(HARSH, "are open that were closed"), (LAX, "are closed that were open")])
def test_a_bundle_that_does_harm_after_its_promotion_is_rolled_back(watched: Watched, bad: Bundle, what: str) -> None:
    watched.registry.promote(bad.bundle_id, "looks well", "a person")

    def serving() -> Bundle:
        return watched.load(watched.registry.state().serving or GOOD.bundle_id)

    rows = watched.work(watched.watch(), serving, lambda: watched.registry.state().serving == GOOD.bundle_id)

    assert 0 < rows <= 64
    assert watched.registry.state().stages[bad.bundle_id] == Stage.ROLLED_BACK
    assert what in watched.reason()[1]
    assert watched.watch().look() is None  # after a rollback nothing is tried any more


def test_one_that_says_the_same_goes_on(watched: Watched) -> None:
    watched.registry.promote(SAME.bundle_id, "other words", "a person")
    watch = watched.watch()

    assert watched.work(watch, lambda: SAME, lambda: False) == -1
    found = watch.look()

    assert found == Counts(rows=159, decided=160) and watched.registry.state().serving == SAME.bundle_id


def test_a_row_without_a_number_ends_it_at_once(watched: Watched) -> None:
    """An activation that float16 cannot hold stands for a probe that gives none."""
    watched.registry.promote(HARSH.bundle_id, "looks well", "a person")
    broken = replace(HARSH.probe, mean=torch.full_like(HARSH.probe.mean, float("nan")))
    watch = watched.watch()
    watch._load = lambda name: replace(HARSH, probe=broken) if name == HARSH.bundle_id else watched.load(name)

    rows = watched.work(watch, lambda: GOOD, lambda: watched.registry.state().serving == GOOD.bundle_id)

    assert rows == 16 and "have a risk that is no number" in watched.reason()[1]


def test_a_watch_that_begins_anew_counts_every_row_again(watched: Watched) -> None:
    watched.registry.shadow(SAME.bundle_id, "try it")
    first = watched.watch()
    watched.work(first, lambda: GOOD, lambda: False)

    assert watched.watch().finish() == first.look() == Counts(rows=159)


def test_parts_of_other_sites_are_counted_and_not_read(watched: Watched) -> None:
    watched.registry.shadow(SAME.bundle_id, "try it")
    watch = watched.watch()
    elsewhere = replace(SAME, sites=SAME.sites[::-1])
    watch._load = lambda name: elsewhere if name == SAME.bundle_id else watched.load(name)

    watched.work(watch, lambda: GOOD, lambda: False)

    [view] = shadow_views(watched.views, SAME.bundle_id)[:1] or [{"unfit": 160}]
    assert watch.look() == Counts() and view["unfit"] == 160


def test_a_store_that_does_not_answer_stops_nothing(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.registry.shadow(SAME.bundle_id, "try it")
    watched.run.repeat(GOOD)
    watch = watched.watch()

    def silent(*arguments: object) -> None:
        raise Unreachable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "get", silent)
        watch.look()
    assert watch.finish() == Counts(rows=159)
