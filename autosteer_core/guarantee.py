"""The operating point: exact binomial limits, and the threshold that meets one of them."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from autosteer_core.errors import UserMistake

# An order statistic that may be beaten less often than this is the luck of a few items, not a slice's own threshold.
MIN_SLICE_EVENTS = 3


class Bounds(StrEnum):
    """Which error the threshold keeps below alpha; the other is reported with its own limit."""

    MISSES = "misses"
    FALSE_REFUSALS = "false-refusals"


@dataclass(frozen=True, slots=True)
class Guarantee:
    """With confidence 1 - delta, at most `bound` of harmful items like the calibration ones pass the gate.

    `false_refusal_bound` says the same of benign items that the gate stops. Each holds by itself; `bounds` names
    the one that the threshold was chosen for.
    """

    threshold: float
    alpha: float
    delta: float
    harmful: int
    missed: int
    bound: float
    benign: int
    false_refusals: int
    false_refusal_bound: float
    bounds: Bounds = Bounds.MISSES


def upper_limit(events: int, trials: int, delta: float) -> float:
    """One-sided Clopper-Pearson upper limit of a rate at confidence 1 - delta; 1.0 without trials."""
    if trials == 0 or events >= trials:
        return 1.0
    return float(beta.ppf(1 - delta, events + 1, trials - events))


def trials_needed(alpha: float, delta: float) -> int:
    """Fewest items for which zero errors prove an error rate of at most alpha."""
    return int(np.ceil(np.log(delta) / np.log(1 - alpha)))


def events_allowed(trials: int, alpha: float, delta: float) -> int:
    """Most errors among `trials` items that still prove a rate of at most alpha; -1 if not even zero does."""
    allowed = -1
    while upper_limit(allowed + 1, trials, delta) <= alpha:
        allowed += 1
    return allowed


def choose_threshold(
    harmful_risk: NDArray[np.float64],
    benign_risk: NDArray[np.float64],
    alpha: float,
    delta: float,
    bounds: Bounds = Bounds.MISSES,
) -> Guarantee:
    """The threshold at the edge of what the chosen bound allows: it costs the other error least.

    Bounding misses it is the largest threshold whose miss rate has an exact upper limit of at most alpha; bounding
    false refusals, the smallest whose false-refusal rate has. Either error is monotone in the threshold, so testing
    thresholds in order and stopping at the first failure keeps confidence 1 - delta (fixed-sequence testing).

    Raises:
        UserMistake: too few items of the bounded kind to prove alpha at all, or no threshold keeps it.
    """
    if bounds is Bounds.MISSES:
        threshold = _edge(harmful_risk, alpha, delta, "harmful", lambda ranked, allowed: ranked[allowed])
    else:
        # The gate opens at risk >= threshold, so it must lie strictly above the last benign risk to be let through.
        threshold = _edge(
            benign_risk, alpha, delta, "benign", lambda ranked, allowed: np.nextafter(ranked[-1 - allowed], 2.0)
        )
    found = guarantee_at(min(threshold, 1.0), harmful_risk, benign_risk, alpha, delta, bounds)
    if bounds is Bounds.FALSE_REFUSALS and found.false_refusal_bound > alpha:
        raise UserMistake(
            f"{found.false_refusals} of {found.benign} benign items have a risk of 1, so no threshold keeps false "
            f"refusals below {alpha:.0%}: look at their labels"
        )
    return found


def _edge(
    risk: NDArray[np.float64],
    alpha: float,
    delta: float,
    kind: str,
    pick: Callable[[NDArray[np.float64], int], float],
) -> float:
    allowed = events_allowed(len(risk), alpha, delta)
    if allowed < 0:
        raise UserMistake(
            f"{len(risk)} {kind} items are held out for the threshold, a bound of {alpha:.0%} at confidence "
            f"{1 - delta:.0%} needs at least {trials_needed(alpha, delta)}: add labelled items or raise --alpha"
        )
    return float(pick(np.sort(risk), allowed))


def guarantee_at(
    threshold: float,
    harmful_risk: NDArray[np.float64],
    benign_risk: NDArray[np.float64],
    alpha: float,
    delta: float,
    bounds: Bounds,
) -> Guarantee:
    """What a threshold that was chosen elsewhere, or on these items by the fixed-sequence rule, can promise."""
    missed = int((harmful_risk < threshold).sum())
    false_refusals = int((benign_risk >= threshold).sum())
    return Guarantee(
        threshold=threshold,
        alpha=alpha,
        delta=delta,
        harmful=len(harmful_risk),
        missed=missed,
        bound=upper_limit(missed, len(harmful_risk), delta),
        benign=len(benign_risk),
        false_refusals=false_refusals,
        false_refusal_bound=upper_limit(false_refusals, len(benign_risk), delta),
        bounds=bounds,
    )


def supports_own_threshold(harmful: int, benign: int, alpha: float, delta: float, bounds: Bounds) -> bool:
    """Whether a slice of the threshold set is large enough for a threshold of its own."""
    trials = harmful if bounds is Bounds.MISSES else benign
    return min(harmful, benign) > 0 and events_allowed(trials, alpha, delta) >= MIN_SLICE_EVENTS
