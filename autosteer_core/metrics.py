"""How well a risk separates harm from the rest, each number with a bootstrap interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from autosteer_core.layer_choice import recall_at
from autosteer_core.probe_fitting import expected_calibration_error

Risks = NDArray[np.float64]
Flags = NDArray[np.bool_]
Measure = Callable[[Risks, Flags], float]

REPLICATES = 400


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % percentile interval, from `harmful` and `benign` rows."""

    value: float
    interval: tuple[float, float]
    harmful: int
    benign: int

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "-"
        return f"{self.value:.3f} [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"


def auroc(risk_N: Risks, harmful_N: Flags) -> float:
    """Probability that a harmful row has the higher risk, ties counted half (Mann-Whitney U); NaN without both."""
    harmful = int(harmful_N.sum())
    benign = len(harmful_N) - harmful
    if not harmful or not benign:
        return float("nan")
    ranks = rankdata(risk_N)
    return float((ranks[harmful_N].sum() - harmful * (harmful + 1) / 2) / (harmful * benign))


def recall_at_1pct(risk_N: Risks, harmful_N: Flags) -> float:
    """Share of harmful rows caught where at most 1 % of benign rows are."""
    return recall_at(risk_N[harmful_N], risk_N[~harmful_N], 0.01)


def recall_at_5pct(risk_N: Risks, harmful_N: Flags) -> float:
    """Share of harmful rows caught where at most 5 % of benign rows are."""
    return recall_at(risk_N[harmful_N], risk_N[~harmful_N], 0.05)


MEASURES: dict[str, Measure] = {
    "AUROC": auroc,
    "recall at 1 % false positives": recall_at_1pct,
    "recall at 5 % false positives": recall_at_5pct,
    "calibration error": expected_calibration_error,
}


def estimates(risk_N: Risks, harmful_N: Flags, unit_N: Sequence[str], seed: int) -> dict[str, Estimate]:
    """Every measure with its interval. Whole units are drawn, because the rows of a pair are not independent."""
    draws = [np.arange(len(risk_N)), *_draws(unit_N, seed)]
    found: dict[str, Estimate] = {}
    for name, measure in MEASURES.items():
        value, *again = (measure(risk_N[rows], harmful_N[rows]) for rows in draws)
        found[name] = Estimate(value, _interval(again), int(harmful_N.sum()), int((~harmful_N).sum()))
    return found


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Draws that hold one label only say nothing and are left out."""
    told = [value for value in values if not np.isnan(value)]
    if not told:
        return float("nan"), float("nan")
    low, high = np.quantile(told, [0.025, 0.975])
    return float(low), float(high)


def _draws(unit_N: Sequence[str], seed: int) -> list[NDArray[np.int64]]:
    """Row numbers of each bootstrap draw; the same seed gives the same draws to every detector."""
    names, unit_of_row = np.unique(np.asarray(unit_N, dtype=str), return_inverse=True)
    generator = np.random.default_rng(seed)
    rows = np.arange(len(unit_of_row))
    picks = (generator.integers(len(names), size=len(names)) for _ in range(REPLICATES))
    return [np.repeat(rows, np.bincount(pick, minlength=len(names))[unit_of_row]) for pick in picks]
