"""From the verdicts of all runs to the numbers of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np

from autosteer_core.bundle import Bundle
from autosteer_core.detection import Detector, detection_lines
from autosteer_core.epsilon_sweep import SweepPoint
from autosteer_core.evaluation import Rate
from autosteer_core.guarantee_check import GuaranteeCheck, check_guarantee
from autosteer_core.judging import JudgeCounts, Judged, judge_counts, judged_lines
from autosteer_core.leakage import Leakage
from autosteer_core.metrics import Estimate
from autosteer_core.questions import Question, SetKind
from autosteer_core.table_one import Condition, Line, table_one

ALPHAS, DELTA = (0.05, 0.10), 0.05


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that is written, printed and drawn. `detectors` and `questions` are kept for the pictures.

    `unreadable` rows are broken in the manifest or could not be shown to the model; they are in no rate.
    """

    suite: str
    bundle: Bundle
    bundles: Mapping[str, str]
    questions: Sequence[Question]
    unreadable: int
    leakage: Leakage | None
    imported: Mapping[str, Any] | None
    table: Sequence[Line]
    detection: Sequence[Line]
    judging: Sequence[JudgeCounts]
    guarantee: Sequence[GuaranteeCheck]
    sweep: Sequence[SweepPoint]
    detectors: Sequence[Detector]

    def as_json(self) -> dict[str, Any]:
        """Stable keys for machines; nothing in it depends on when or how fast the runs were."""
        return {
            "suite": self.suite,
            "bundle_id": self.bundle.bundle_id,
            "bundles": dict(self.bundles),
            "rows": len(self.questions),
            "unreadable_rows": self.unreadable,
            "import": self.imported,
            "leakage": self.leakage.counts() if self.leakage else None,
            "table": [_line_json(line) for line in self.table],
            "detection": [_line_json(line) for line in self.detection],
            "judges": [_counts_json(counts) for counts in self.judging],
            "guarantee": [
                asdict(check) | {"holds": check.holds, "vacuous": check.vacuous} for check in self.guarantee
            ],
            "epsilon_sweep": [_sweep_json(point) for point in self.sweep],
        }


def guarantee_checks(questions: Sequence[Question], ours: Detector, seed: int) -> list[GuaranteeCheck]:
    """On this suite's harmful and ordinary benign rows; alphas that so few rows cannot prove are left out."""
    risks = {
        kind: np.array([ours.risk[row.item_id] for row in questions if row.kind is kind and row.item_id in ours.risk])
        for kind in (SetKind.HARMFUL, SetKind.BENIGN)
    }
    checks = (check_guarantee(risks[SetKind.HARMFUL], risks[SetKind.BENIGN], alpha, DELTA, seed) for alpha in ALPHAS)
    return [check for check in checks if check is not None]


def tables_of(
    questions: Sequence[Question],
    conditions: Sequence[Condition],
    detectors: Sequence[Detector],
    judged: Mapping[str, Judged],
) -> dict[str, Any]:
    """The three tables that need nothing but rows."""
    return {
        "table": [*table_one(questions, conditions), *judged_lines(questions, conditions, judged)],
        "detection": detection_lines(questions, detectors),
        "judging": judge_counts(questions, conditions, judged),
    }


def _line_json(line: Line) -> dict[str, Any]:
    cells = {name: cell_json(cell) for name, cell in line.cells.items()}
    return {
        "metric": line.metric,
        "set": line.scope,
        "kind": str(line.kind),
        "modality": line.modality,
        "cells": cells,
    }


def cell_json(cell: Rate | Estimate) -> dict[str, Any]:
    """A number that cannot be had is null, because JSON knows no NaN."""
    numbers = {"value": cell.value, "low": cell.interval[0], "high": cell.interval[1]}
    told = {name: value if isfinite(value) else None for name, value in numbers.items()}
    if isinstance(cell, Rate):
        return told | {"events": cell.events, "trials": cell.trials}
    return told | {"harmful": cell.harmful, "benign": cell.benign}


def _counts_json(counts: JudgeCounts) -> dict[str, Any]:
    return asdict(counts) | {
        "kind": str(counts.kind),
        "judge_disagrees": {name: cell_json(rate) for name, rate in counts.judge_disagrees.items()},
    }


def _sweep_json(point: SweepPoint) -> dict[str, Any]:
    rates = {name: cell_json(getattr(point, name)) for name in ("attack_success", "false_refusals", "changed")}
    return {"epsilon": point.epsilon} | rates
