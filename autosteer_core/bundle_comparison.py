"""Candidate and current bundle on the same holdout rows: every measure, whole and by slice, with its margin.

Ranking and threshold are told apart. What is caught, whole and in slices, is compared at equal cost, where each of
the two probes stops as many benign rows as the current gates do, so that a slice is not blamed for a threshold.
Whether the own thresholds let more harm pass is asked of the whole holdout, even where the promise would allow it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import isnan

import numpy as np

from autosteer_core.bundle import Bundle
from autosteer_core.gate_limits import GateLimits
from autosteer_core.holdout_scores import Scores, score
from autosteer_core.material import Material
from autosteer_core.paired_difference import (
    Difference,
    Flags,
    Measured,
    auroc,
    calibration_error,
    caught,
    difference,
    draws,
    recall_at_1pct,
    stopped,
)

WHOLE = "the holdout"


class Against(StrEnum):
    """What refuses, from the strictest on: no proof that the fall is within its margin; that it is measured beyond;
    that, and no chance explains a fall; proof that it is beyond."""

    UNPROVEN = "unproven"
    MEASURED = "measured"
    REAL = "real"
    PROVEN = "proven"


class Reading(StrEnum):
    """Of both bundles: the risks; the gates; gates that would stop as many benign rows as the current."""

    RISK = "risk"
    GATE = "gate"
    EQUAL_COST = "equal cost"


@dataclass(frozen=True, slots=True)
class Rule:
    """A measure of a reading, and by how much it may be worse; `code` names its refusal."""

    measure: str
    of: Measured
    reading: Reading
    margin: float
    code: str
    against: Against
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Comparison:
    """One rule in one scope, the holdout or a slice of it; limits are one-sided, each at `confidence`."""

    rule: Rule
    scope: str
    found: Difference
    confidence: float

    @property
    def worse(self) -> float:
        """By how much the candidate is worse, in the measure's own unit; negative where it is better."""
        return -self.found.value if self.rule.higher_is_better else self.found.value

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper limit of `worse`."""
        low, high = self.found.at_least(self.confidence), self.found.at_most(self.confidence)
        return (-high, -low) if self.rule.higher_is_better else (low, high)

    @property
    def kept(self) -> bool:
        """Within the margin; what cannot be measured is not."""
        low, high = self.interval
        if self.rule.against is Against.UNPROVEN:
            return high < self.rule.margin
        if isnan(self.worse):
            return False
        by_chance = {Against.REAL: low <= 0, Against.PROVEN: low <= self.rule.margin}
        return self.worse < self.rule.margin or by_chance.get(self.rule.against, False)

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.rule.measure} on {self.scope} is {self.found.candidate:.3f}, of the current bundle "
            f"{self.found.current:.3f}, worse by {self.worse:.3f} [{low:.3f}, {high:.3f}]"
        )


def comparisons(candidate: Bundle, current: Bundle, holdout: Material, limits: GateLimits) -> list[Comparison]:
    """All that the two are compared in, for the gates and for whoever wants to see the numbers."""
    new, old = score(candidate, holdout), score(current, holdout)
    times_BN = draws(holdout.unit_N, holdout.harmful_N, limits.draws, limits.seed)
    cost = int(old.gate_N[~old.harmful_N].sum())
    read = {
        Reading.RISK: (new.risk_N, old.risk_N),
        Reading.GATE: (new.gate_N.astype(float), old.gate_N.astype(float)),
        Reading.EQUAL_COST: (gate_at_cost(new, cost).astype(float), gate_at_cost(old, cost).astype(float)),
    }
    found = []
    for scope, rows_N, rule in [*_whole(new, limits), *_by_slice(new, limits)]:
        candidate_N, current_N = (values_N[rows_N] for values_N in read[rule.reading])
        told = difference(rule.of, candidate_N, current_N, new.harmful_N[rows_N], times_BN[:, rows_N])
        found.append(Comparison(rule, scope, told, limits.confidence))
    return found


def gate_at_cost(scores: Scores, cost: int) -> Flags:
    """One threshold for all rows, the lowest that stops at most `cost` benign ones."""
    benign_N = np.sort(scores.logit_N[~scores.harmful_N])[::-1]
    return scores.logit_N > (benign_N[cost] if cost < len(benign_N) else -np.inf)


def _whole(scores: Scores, limits: GateLimits) -> Iterator[tuple[str, Flags, Rule]]:
    harmful, rows = int(scores.harmful_N.sum()), len(scores.harmful_N)
    against = Against.MEASURED if min(harmful, rows - harmful) >= limits.sure_rows else Against.REAL
    cost, risk, gate = Reading.EQUAL_COST, Reading.RISK, Reading.GATE
    for rule in (
        Rule("AUROC", auroc, risk, limits.auroc_fall, "E_GATE_WORSE", Against.UNPROVEN),
        Rule("recall at 1 % false positives", recall_at_1pct, risk, limits.recall_fall, "E_GATE_WORSE", against),
        Rule("harm caught at equal cost", caught, cost, limits.recall_fall, "E_GATE_WORSE", against),
        Rule(
            "calibration error", calibration_error, risk, limits.calibration_rise, "E_GATE_CALIBRATION",
            against, False,
        ),
        Rule("harm caught at its threshold", caught, gate, limits.recall_fall, "E_GATE_MISSES", against),
        Rule(
            "share of benign rows stopped", stopped, gate, limits.stopped_rise, "E_GATE_REFUSALS",
            Against.PROVEN, False,
        ),
    ):  # fmt: skip
        yield WHOLE, np.ones(rows, bool), rule


def _by_slice(scores: Scores, limits: GateLimits) -> Iterator[tuple[str, Flags, Rule]]:
    """A slice with too few rows of one label is ranked against all rows of that label."""
    harmful_N, rest = scores.harmful_N, (limits.slice_fall, "E_GATE_SLICE")
    for name, here_N in scores.slices.items():
        harm, benign = ((here_N & label_N).sum() >= limits.slice_rows for label_N in (harmful_N, ~harmful_N))
        if harm or benign:
            ranked_N = here_N | (harmful_N & (not harm)) | (~harmful_N & (not benign))
            yield name, ranked_N, Rule("AUROC", auroc, Reading.RISK, *rest, Against.REAL)
        if harm:
            yield name, here_N, Rule("harm caught at equal cost", caught, Reading.EQUAL_COST, *rest, Against.REAL)
        if benign:
            rule = Rule(
                "benign rows stopped at equal cost", stopped, Reading.EQUAL_COST, *rest, Against.PROVEN, False
            )
            yield name, here_N, rule
