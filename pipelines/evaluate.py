"""Suite and bundle in; tables, pictures and `evaluation.json` out. All numbers come from sealed runs below `out`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from autosteer_core.detection import Detector
from autosteer_core.errors import UserMistake
from autosteer_core.leakage import Leakage
from autosteer_core.questions import Question, sample_ids
from autosteer_core.table_one import ALWAYS, CANNED, UNSTEERED
from autosteer_core.text_control import text_probe
from autosteer_core.values import Label
from infra.open_store import open_store
from pipelines.bundle_files import load_bundle
from pipelines.evaluation_conditions import GATE_ALONE, answered_pairs, conditions_of, detectors_of, sweep_of
from pipelines.evaluation_items import EvaluationItems, evaluation_items, find_leaks
from pipelines.evaluation_plan import OURS, Seen, controls_of, judge_everything, run_everything
from pipelines.evaluation_report import evaluation_html
from pipelines.evaluation_results import Evaluation, guarantee_checks, tables_of
from pipelines.evaluation_runs import shown_runs
from pipelines.reading import open_items
from pipelines.settings import Settings
from pipelines.wiring import stream

TEXT_ONLY = "n-gram text"
RESERVED = {OURS, TEXT_ONLY, UNSTEERED, ALWAYS, CANNED, GATE_ALONE}


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """`sample` rows of every set are answered under every condition (0: all rows); `sweep` rows at every epsilon."""

    suite: str
    data: Path
    out: str
    settings: Settings
    baselines: Mapping[str, str]
    judges: Sequence[str]
    calibrated_on: str | None
    sample: int
    sweep: int


def evaluate(request: EvaluationRequest, console: Console) -> Evaluation:
    """Do or continue the evaluation and leave `evaluation.json` and `evaluation.html` in its output.

    Raises:
        UserMistake: unknown suite, bundle of another model, an output of another evaluation, a name used twice.
        Interrupted: a person stopped it; the same command continues.
    """
    bundles = _bundles(request)
    with console.status("reading the suite"):
        items = evaluation_items(request.suite, request.data, request.out)
        leakage = find_leaks(request.calibrated_on, items)
    chosen = _chosen(items, leakage, request)
    with shown_runs(request.out, request.settings, console) as runs:
        seen = run_everything(runs, items.address, chosen, bundles, request.sweep)
        questions = [row for row in chosen if seen.risks[OURS][row.item_id].flaw is None]
        conditions = conditions_of(seen, questions, load_bundle(bundles[OURS], request.settings))
        pairs = answered_pairs(questions, conditions)
        judged = judge_everything(runs, items.address, pairs, request.judges, bundles[OURS])
    with console.status("measuring"):
        detectors = [*detectors_of(seen), *_text_only(request.calibrated_on, items)]
        tables = tables_of(questions, conditions, detectors, judged)
        unreadable = items.unreadable + len(chosen) - len(questions)
        found = _measured(request, bundles, seen, questions, detectors) | tables
        evaluation = Evaluation(**found, leakage=leakage, imported=items.imported, unreadable=unreadable)
        _write(evaluation, request.out)
    return evaluation


def _measured(
    request: EvaluationRequest,
    bundles: Mapping[str, str],
    seen: Seen,
    questions: Sequence[Question],
    detectors: Sequence[Detector],
) -> dict[str, Any]:
    bundle = load_bundle(bundles[OURS], request.settings)
    return {
        "suite": request.suite,
        "bundle": bundle,
        "bundles": bundles,
        "questions": questions,
        "guarantee": guarantee_checks(questions, detectors[0], request.settings.seed),
        "sweep": sweep_of(seen, questions, bundle),
        "detectors": detectors,
    }


def _bundles(request: EvaluationRequest) -> dict[str, str]:
    """The evaluated bundle, the controls that lie in its folder, then the named baselines."""
    ours = request.settings.bundle
    if ours is None:
        raise UserMistake("no bundle was named: give --bundle, or make one with `autosteer calibrate`")
    bundles = {OURS: ours} | controls_of(ours)
    taken = sorted(request.baselines.keys() & (bundles.keys() | RESERVED))
    if taken:
        raise UserMistake(f"--baseline {taken[0]} has a name that is taken: give it another one, as NAME=BUNDLE")
    bundles |= request.baselines
    for address in bundles.values():
        load_bundle(address, request.settings).require(load_bundle(ours, request.settings).fingerprint)
    return bundles


def _chosen(items: EvaluationItems, leakage: Leakage | None, request: EvaluationRequest) -> list[Question]:
    """Rows that calibration has not shown, with the sampled ones marked."""
    leaked = leakage.item_ids if leakage else frozenset()
    kept = [row for row in items.questions if row.item_id not in leaked]
    if not kept:
        raise UserMistake(f"{request.suite} has no row left: {len(leaked)} leaked, {items.unreadable} are unreadable")
    sampled = sample_ids(kept, request.sample or len(kept), request.settings.seed)
    return [replace(row, sampled=row.item_id in sampled) for row in kept]


def _text_only(calibrated_on: str | None, items: EvaluationItems) -> list[Detector]:
    """The control that reads words only; it needs the calibration items."""
    if calibrated_on is None:
        return []
    known = [item for item in stream(open_items(calibrated_on)) if item.annotation.label is not None]
    if len({item.annotation.label for item in known}) < 2:
        return []
    probe = text_probe([item.text for item in known], [item.annotation.label is Label.HARMFUL for item in known])
    asked = {item.item_id: item.text for item in stream(open_items(items.address)) if item.flaw is None}
    risk_N = np.asarray(probe.predict_proba(list(asked.values())))[:, 1]
    return [Detector(TEXT_ONLY, dict(zip(asked, risk_N.tolist(), strict=True)))]


def _write(found: Evaluation, out: str) -> None:
    store = open_store(out)
    store.put("evaluation.json", json.dumps(found.as_json(), indent=1).encode())
    store.put("evaluation.html", evaluation_html(found))
