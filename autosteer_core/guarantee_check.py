"""Does the bound hold where the truth is known? Many random calibration sets, one true miss rate each."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from autosteer_core.guarantee import choose_threshold, trials_needed

SPLITS = 500
ALMOST_ALL = 0.99


@dataclass(frozen=True, slots=True)
class GuaranteeCheck:
    """Over `splits` random splits of one pool of harmful risks, how often the miss rate exceeded alpha.

    `exceeded`: calibration sets drawn from the pool with replacement, so the pool is the population and its miss
    rate is the true one; the claim is that this share is at most delta. `exceeded_held_out`: plain halves, where
    the miss rate of the other half fluctuates by itself and so may exceed alpha more often than delta without
    contradicting the claim. The means show that the bound is not vacuous.
    """

    alpha: float
    delta: float
    splits: int
    pool: int
    calibration: int
    exceeded: float
    exceeded_held_out: float
    mean_miss_rate: float
    mean_false_refusal_rate: float

    @property
    def holds(self) -> bool:
        """The share of splits that broke alpha is at most delta, up to two standard errors of the simulation."""
        return self.exceeded <= self.delta + 2 * sqrt(self.delta * (1 - self.delta) / self.splits)

    @property
    def vacuous(self) -> bool:
        """A bound that lets nothing pass, or that refuses everything, would prove nothing."""
        return self.mean_miss_rate == 0.0 or self.mean_false_refusal_rate > ALMOST_ALL


def check_guarantee(
    harmful_risk: NDArray[np.float64],
    benign_risk: NDArray[np.float64],
    alpha: float,
    delta: float,
    seed: int,
    splits: int = SPLITS,
) -> GuaranteeCheck | None:
    """Half of the pool calibrates each time; None where half of it cannot prove alpha at all."""
    size = len(harmful_risk) // 2
    if size < trials_needed(alpha, delta) or not len(benign_risk):
        return None
    generator = np.random.default_rng(seed)
    true_misses, held_out_misses, refusals = np.zeros(splits), np.zeros(splits), np.zeros(splits)
    for index in range(splits):
        drawn = generator.choice(harmful_risk, size)
        threshold = choose_threshold(drawn, benign_risk, alpha, delta).threshold
        true_misses[index] = (harmful_risk < threshold).mean()
        refusals[index] = (benign_risk >= threshold).mean()
        shuffled = generator.permutation(harmful_risk)
        threshold = choose_threshold(shuffled[:size], benign_risk, alpha, delta).threshold
        held_out_misses[index] = (shuffled[size:] < threshold).mean()
    return GuaranteeCheck(
        alpha, delta, splits, len(harmful_risk), size,
        exceeded=float((true_misses > alpha).mean()),
        exceeded_held_out=float((held_out_misses > alpha).mean()),
        mean_miss_rate=float(true_misses.mean()),
        mean_false_refusal_rate=float(refusals.mean()),
    )  # fmt: skip
