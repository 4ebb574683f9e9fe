"""The bound on missed harmful items: exact binomial limits and the threshold that meets them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from autosteer_core.errors import UserMistake


@dataclass(frozen=True, slots=True)
class Guarantee:
    """With confidence 1 - delta, at most `bound` of harmful items like the calibration ones pass the gate."""

    threshold: float
    alpha: float
    delta: float
    harmful: int
    missed: int
    bound: float
    benign: int
    false_refusals: int


def upper_limit(events: int, trials: int, delta: float) -> float:
    """One-sided Clopper-Pearson upper limit of a rate at confidence 1 - delta; 1.0 without trials."""
    if trials == 0 or events >= trials:
        return 1.0
    return float(beta.ppf(1 - delta, events + 1, trials - events))


def trials_needed(alpha: float, delta: float) -> int:
    """Fewest harmful items for which zero misses prove a miss rate of at most alpha."""
    return int(np.ceil(np.log(delta) / np.log(1 - alpha)))


def choose_threshold(
    harmful_risk: NDArray[np.float64], benign_risk: NDArray[np.float64], alpha: float, delta: float
) -> Guarantee:
    """The largest threshold whose miss rate has an exact upper limit of at most alpha.

    Misses only grow with the threshold, so testing thresholds from the smallest upwards and stopping at the
    first failure keeps confidence 1 - delta over the whole search (fixed-sequence testing).

    Raises:
        UserMistake: too few harmful items to prove alpha at all.
    """
    needed = trials_needed(alpha, delta)
    if len(harmful_risk) < needed:
        raise UserMistake(
            f"{len(harmful_risk)} harmful items are held out for the threshold, a bound of {alpha:.0%} at "
            f"confidence {1 - delta:.0%} needs at least {needed}: add labelled items or raise --alpha"
        )
    ranked = np.sort(harmful_risk)
    missed = _most_misses(len(ranked), alpha, delta)
    # The gate opens at risk >= threshold: exactly `missed` items lie strictly below this one.
    threshold = float(ranked[missed])
    missed = int((ranked < threshold).sum())
    return Guarantee(
        threshold=threshold,
        alpha=alpha,
        delta=delta,
        harmful=len(ranked),
        missed=missed,
        bound=upper_limit(missed, len(ranked), delta),
        benign=len(benign_risk),
        false_refusals=int((benign_risk >= threshold).sum()),
    )


def _most_misses(trials: int, alpha: float, delta: float) -> int:
    missed = 0
    while upper_limit(missed + 1, trials, delta) <= alpha:
        missed += 1
    return missed
