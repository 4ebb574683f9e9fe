"""The whole loop on this machine: from a kind of harm that a probe misses to a better probe in running workers.

Each step calls what its command calls. A loop that was stopped is continued by the same command.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

from autosteer_core.bundle import Bundle
from autosteer_core.bundle_reading import admit
from autosteer_core.errors import UserMistake
from autosteer_core.guarantee import Bounds
from autosteer_core.labelled import HoldOut
from autosteer_core.ports import BlobStore
from autosteer_core.registry import Registry
from autosteer_core.run import Run
from autosteer_core.values import BundleId, QueueCounts
from infra.column_map import ColumnMap
from infra.open_store import open_store
from pipelines.answer_judges import judges_named
from pipelines.batch_run import Finished, Progress, Request, run_batch, worker_pool
from pipelines.calibrate import CalibrationRequest, calibrate_manifest
from pipelines.candidate_watch import GUARD
from pipelines.drift_reference import reference_for
from pipelines.engines import model_source
from pipelines.flags import FlagRequest, flag_run
from pipelines.loop.gauge import Gauge, gauge, parts_by_bundle
from pipelines.loop.items import write_loop_files
from pipelines.loop.promotion import MidwayPromotion
from pipelines.loop.report import report_page, result_table
from pipelines.loop.reviewer import review
from pipelines.pictures.lineage import lineage_picture
from pipelines.progress import told
from pipelines.registry_files import open_registry, who_here
from pipelines.registry_tables import bundles_table, moves_table
from pipelines.replay import replay
from pipelines.retrain import Outcome, Retrained
from pipelines.retrain_here import retrain_here
from pipelines.settings import Settings
from pipelines.signing import trust_of
from pipelines.terminal import Terminal
from workers.ray_pool import Pool

# Few slots and short parts: a worker claims ahead what its slots can take, and what is claimed keeps its bundle.
_SMALL = {"slots": 4, "rows_per_part": 8, "max_new_tokens": 12, "workers": 2, "activations": True}
# A fifth of the second run is harm of the new kind, on which the candidate is meant to open.
_GUARD = {"guard_opened": 0.5}
# Calm first: the promise is about false refusals, so an unknown kind of harm is missed and not stopped by caution.
_CALM = {"bounds": Bounds.FALSE_REFUSALS, "alpha": 0.1, "hold_out": HoldOut.PAIR}


def run_loop(out: Path, settings: Settings, console: Terminal) -> dict[str, Any]:
    """Do every step under `out`, print each and a table at the end; leave loop.json, loop.html and lineage.svg.

    Raises:
        UserMistake: the candidate is refused by the gates, with the reasons.
    """
    loop = _Loop(out, settings.model_copy(update={"bundle": None, "registry": str(out / "registry")}), console)
    model_source(settings)  # the demo's is built here, so that no worker waits for it
    loop.calibrate()
    with worker_pool(loop.settings) as pool:
        loop.generate_first(pool)
        loop.flag_and_label()
        candidate = loop.retrain()
        loop.promote_while_generating(candidate, pool)
    loop.compare(candidate)
    loop.roll_back(candidate)
    return loop.tell()


@dataclass(slots=True)
class _Step:
    """How long one took and what is to be said of it."""

    name: str
    seconds: float = 0.0
    said: str = ""


@dataclass
class _Loop:
    out: Path
    given: Settings
    console: Terminal
    steps: list[_Step] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files = write_loop_files(self.out / "manifests")
        self.settings = self.given.model_copy(update=_SMALL | _GUARD | _CALM)
        self.store: BlobStore = open_store(str(self.out / "registry"))
        self.registry: Registry = open_registry(str(self.out / "registry"))

    @cached_property
    def first_bundle(self) -> BundleId:
        """The registry's oldest: it is the calibration's."""
        return next(iter(self.registry.state().records))

    @contextmanager
    def step(self, name: str) -> Iterator[_Step]:
        self.console.say(f"{len(self.steps) + 1}. {name}", "bold")
        step, started = _Step(name), perf_counter()
        yield step
        step.seconds = round(perf_counter() - started, 1)
        self.steps.append(step)
        self.console.say(f"   {step.said} ({step.seconds} s)")

    def calibrate(self) -> None:
        with self.step("calibrate without the new kind of harm, and promote") as step:
            if not self.registry.state().records:
                with told(self.console, "loading the model") as say:
                    request = CalibrationRequest(str(self.files.calibration), None, self.settings, ColumnMap())
                    calibrate_manifest(request, say)
            if self.registry.state().serving is None:
                self.registry.promote(self.first_bundle, "the first of the demonstration", who_here())
            step.said = f"bundle {self.first_bundle[:12]} serves"

    def generate_first(self, pool: Pool) -> None:
        with self.step("generate: the new kind of harm comes in") as step:
            finished = self._generate("first", pool, lambda run, rows, counts: None)
            step.said = f"{finished.run.rows} rows in {len(finished.records)} parts"

    def flag_and_label(self) -> None:
        with self.step("flag, and take the labels of a reviewer") as step:
            out = str(self.out / "first")
            judges, reference = judges_named(["keywords"], self.settings), reference_for(out, self.settings, None)
            flagged = flag_run(FlagRequest(out, str(self.out / "registry"), self.settings, judges, reference))
            labels = review(self.files.first, self.store, flagged.run_id)
            alarm = "drift alarm, " if flagged.drift is not None and flagged.drift.alarm else ""
            step.said = f"{alarm}{flagged.flagged} of {flagged.rows} rows are flagged, {labels} labels are new"
            self.found |= {"flagged": flagged.as_json(), "labels": labels}

    def retrain(self) -> BundleId:
        with self.step("retrain from kept activations, and hold the candidate against the gates") as step:
            with told(self.console, "reading") as say:
                made = retrain_here(self.settings, [str(self.out / "first")], 1, False, say)
            candidate = _accepted(made)
            step.said = f"candidate {candidate[:12]} from {made.rows} rows, {made.new_labels} of them new"
            self.found["retrained"] = made.as_json()
        return candidate

    def promote_while_generating(self, candidate: BundleId, pool: Pool) -> None:
        with self.step("shadow the candidate, and promote it while a second generation runs") as step:
            if self.registry.state().serving == self.first_bundle:
                self.registry.shadow(candidate, "to be scored beside the one that serves", who_here())
            store = open_store(str(self.out / "second"))
            promotion = MidwayPromotion(self.registry, self.store, store, candidate, who_here())
            self._generate("second", pool, promotion.hear)
            _require_served(self.registry, candidate)
            self.found |= {
                "rows_before_the_promotion": promotion.rows_before,
                "shadow": promotion.scored,
                "seconds_to_the_first_part": promotion.seconds and round(promotion.seconds, 2),
                "parts": parts_by_bundle(store),
            }
            parts = ", ".join(f"{count} by {bundle[:12]}" for bundle, count in self.found["parts"].items())
            step.said = f"parts: {parts}"

    def compare(self, candidate: BundleId) -> None:
        with self.step("read both runs again under either bundle") as step:
            second, bundles = open_store(str(self.out / "second")), (self.first_bundle, candidate)
            before, after = (gauge(second, self._bundle(each)) for each in bundles)
            self.found |= {"before": before.as_json(), "after": after.as_json()}
            flips = replay([str(self.out / "first")], self._bundle(candidate))
            self.found["replay"] = {key: value for key, value in flips.as_json().items() if key != "flips"}
            step.said = f"{flips.opened} gates of the first run would open, {flips.closed} would close"
            self.console.print(result_table(before, after))
        self._gauges: tuple[Gauge, Gauge] = (before, after)

    def roll_back(self, candidate: BundleId) -> None:
        with self.step("roll back") as step:
            state = self.registry.state()
            if state.serving == candidate:
                state = self.registry.roll_back("the demonstration ends", who_here(), expected=state.number)
            step.said = f"bundle {str(state.serving)[:12]} serves again, from entry {state.epoch} on"
            self.found |= {"serving": state.serving, "epoch": state.epoch}

    def tell(self) -> dict[str, Any]:
        state = self.registry.state()
        self.console.print(bundles_table(state))
        self.console.print(moves_table(state))
        steps = [{"name": step.name, "seconds": step.seconds, "said": step.said} for step in self.steps]
        self.found |= {"steps": steps, "seconds": round(sum(step.seconds for step in self.steps), 1)}
        picture = lineage_picture(state)
        (self.out / "lineage.svg").write_bytes(picture)
        (self.out / "loop.json").write_text(json.dumps(self.found, indent=1), encoding="utf-8")
        page = self.out / "loop.html"
        page.write_bytes(report_page(self.found, self._gauges, picture))
        self.console.say(f"report: {page.resolve().as_uri()}")
        return self.found

    def _generate(self, name: str, pool: Pool, hear: Progress) -> Finished:
        """`hear` is told of it as the person is."""
        manifest = str(getattr(self.files, name))
        request = Request("generate", manifest, str(self.out / name), self.settings, ColumnMap())
        with told(self.console, "generating") as say:

            def show(run: Run, rows: int, counts: QueueCounts) -> None:
                say(f"generating: {rows} of {run.rows} rows")
                hear(run, rows, counts)

            return run_batch(request, show, pool)

    def _bundle(self, bundle_id: BundleId) -> Bundle:
        return admit(self.registry.files(bundle_id), trust_of(self.settings)).bundle


def _accepted(made: Retrained) -> BundleId:
    """A loop that is continued meets the candidate that it made before."""
    if made.outcome is Outcome.REFUSED or made.bundle_id is None:
        raise UserMistake(f"no candidate: {made.outcome}: {'; '.join(made.reasons) or 'there are no new labels'}")
    return made.bundle_id


def _require_served(registry: Registry, candidate: BundleId) -> None:
    """A loop that is continued after its end finds the candidate rolled back, and that is as it should be."""
    state = registry.state()
    latest = list(state.moves())[-1]
    if state.serving != candidate and latest.who == GUARD:
        raise UserMistake(f"the guard took the candidate back: {latest.reason}")
