"""The pieces of the loop by themselves: promotion in the middle of a run, and what a bundle gets right on it."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from autosteer_core.bundle import Bundle, to_files
from autosteer_core.canary_guard import GuardLimits
from autosteer_core.evaluation import Rate
from autosteer_core.records import CommitRecord
from autosteer_core.registry import Published, Registry, Stage
from autosteer_core.values import Annotation, BundleId, Label, QueueCounts, Verdict
from infra.folder_store import FolderStore
from pipelines.candidate_watch import CandidateWatch
from pipelines.loop.gauge import Gauge, gauge, parts_by_bundle
from pipelines.loop.promotion import MidwayPromotion
from pipelines.loop.report import report_page
from tests.kept_run import KeptRun, bundle
from tests.registries import registry

NONE = QueueCounts(0, 0, 0, 0)
OTHER = bundle(7)


@dataclass
class OpenRun(KeptRun):
    """Nothing of it is done yet."""

    begun: bool = False

    def repeat(self, bundle: Bundle, most: int | None = None) -> list[CommitRecord]:
        was, self.begun = self.begun, True
        return super().repeat(bundle, most if was else 0)


@dataclass
class LabelledRun(KeptRun):
    """Every second item is harmful; the groups alternate in threes."""

    def _verdict(self, row: int, bundle: Bundle, risk: float) -> Verdict:
        label = Label.HARMFUL if row % 2 else Label.BENIGN
        return replace(super()._verdict(row, bundle, risk), annotation=Annotation(label, f"group {row % 3}"))


def promotion(run: KeptRun, ours: Registry, store: FolderStore) -> MidwayPromotion:
    return MidwayPromotion(ours, store, run.store, OTHER.bundle_id, "tests")


def scored(run: KeptRun, ours: Registry, store: FolderStore) -> None:
    """As the run's own watch does it, under limits that no bundle breaks: a third of their gates differ."""
    known = {each.bundle_id: each for each in (run.first, OTHER)}
    limits = GuardLimits(opened=0.9, closed=0.9, failed=0.9)
    CandidateWatch((run.store, run.run.run_id), ours, store, lambda each: known[each], limits).finish()


@pytest.fixture
def serving(tmp_path: Path) -> tuple[Registry, FolderStore, KeptRun]:
    """The first bundle serves, the other is scored, and nothing of the run is done."""
    run, store = OpenRun(tmp_path / "run"), FolderStore(tmp_path / "registry")
    ours = registry(store)
    for each in (run.first, OTHER):
        ours.publish(to_files(each), Published())
    ours.promote(run.first.bundle_id, "the first", "tests")
    ours.shadow(OTHER.bundle_id, "to compare", "tests")
    return ours, store, run


def test_a_candidate_is_promoted_once_a_quarter_of_the_rows_is_there_and_its_first_part_is_timed(
    serving: tuple[Registry, FolderStore, KeptRun],
) -> None:
    ours, store, run = serving
    midway = promotion(run, ours, store)

    midway.hear(run.run, 0, NONE)
    assert ours.state().serving == run.first.bundle_id
    run.repeat(run.first, most=1)
    scored(run, ours, store)
    midway.hear(run.run, 8, NONE)
    assert ours.state().serving == OTHER.bundle_id
    assert (midway.rows_before, midway.scored["rows"], midway.seconds) == (8, 7, None)

    run.repeat(OTHER)
    midway.hear(run.run, 30, NONE)
    assert midway.seconds is not None and midway.seconds >= 0
    assert parts_by_bundle(run.store) == {str(run.first.bundle_id): 1, str(OTHER.bundle_id): 3}
    number = ours.state().number
    promotion(run, ours, store).hear(run.run, 30, NONE)
    assert ours.state().number == number


def test_a_candidate_that_the_guard_took_back_is_not_promoted_again(
    serving: tuple[Registry, FolderStore, KeptRun],
) -> None:
    ours, store, run = serving
    ours.promote(OTHER.bundle_id, "too early", "tests")
    ours.roll_back("stopped by the guard", "guard")
    run.repeat(run.first)

    promotion(run, ours, store).hear(run.run, 30, NONE)

    assert ours.state().serving == run.first.bundle_id
    assert ours.state().stages[OTHER.bundle_id] is Stage.ROLLED_BACK


@pytest.mark.parametrize("by", [bundle(), OTHER])
def test_a_gauge_counts_open_gates_of_harmful_rows_by_group_and_of_all_benign_rows(
    tmp_path: Path, by: Bundle
) -> None:
    run = LabelledRun(tmp_path / "run")
    run.repeat(run.first)
    risks = by.probe.risk(run.measured_ND).tolist()
    opened = {row: not risks[row] < by.threshold(verdict_modality(row)) for row in range(run.rows) if row != 5}

    found = gauge(run.store, by)

    for group in range(3):
        rows = [row for row in opened if row % 2 and row % 3 == group]
        assert found.recall[f"group {group}"] == Rate(sum(opened[row] for row in rows), len(rows))
    benign = [row for row in opened if not row % 2]
    assert found.false_refusals == Rate(sum(opened[row] for row in benign), len(benign))


def verdict_modality(row: int) -> str:
    return "image" if row % 3 == 0 else "text"


def test_the_report_escapes_what_it_shows_and_holds_its_picture() -> None:
    rates = Gauge({"<b>new</b>": Rate(1, 4)}, Rate(0, 3))
    found = {
        "seconds": 1, "serving": BundleId("b"), "epoch": 3, "parts": {"b": 2}, "rows_before_the_promotion": 8,
        "steps": [{"name": "<i>", "seconds": 1, "said": "done"}],
    }  # fmt: skip

    page = report_page(found, (rates, rates), b"<svg></svg>").decode()

    assert "<b>new" not in page and "&lt;b&gt;new" in page and "<i>" not in page
    assert 'src="data:image/svg+xml' in page
