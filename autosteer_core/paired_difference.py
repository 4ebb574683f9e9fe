"""Is one probe better than another on the same rows? A paired, stratified bootstrap over whole units.

Both probes are measured on every draw, so what makes a draw hard or easy is the same for both and falls out of their
difference (Efron and Tibshirani, 1993, chapter 16). Whole units are drawn, because the rows of a pair are not
independent. Units of one composition (harmful rows only, benign only, both) are drawn among themselves, so that every
draw holds about as much harm as the holdout.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]
Measured = Callable[[Reals, Flags, NDArray[np.float32]], Reals]
BINS = 10


@dataclass(frozen=True, slots=True)
class Difference:
    """Candidate minus current: on the holdout, and in every draw, shape (B,)."""

    candidate: float
    current: float
    drawn_B: Reals

    @property
    def value(self) -> float:
        """On the holdout itself."""
        return self.candidate - self.current

    def at_least(self, confidence: float) -> float:
        """One-sided lower limit: the smaller one of the percentile's and the basic bootstrap's."""
        low, high = self._quantiles(confidence)
        return min(low, 2 * self.value - high)

    def at_most(self, confidence: float) -> float:
        """One-sided upper limit: the larger one of the two."""
        low, high = self._quantiles(confidence)
        return max(high, 2 * self.value - low)

    def _quantiles(self, confidence: float) -> tuple[float, float]:
        if not len(self.drawn_B):
            return -np.inf, np.inf
        low, high = np.quantile(self.drawn_B, [1 - confidence, confidence])
        return float(low), float(high)


def draws(unit_N: NDArray[np.str_], harmful_N: Flags, count: int, seed: int) -> NDArray[np.float32]:
    """How often each draw takes each row, shape (B, N): small whole numbers, the same for all rows of a unit."""
    _, place_N = np.unique(unit_N, return_inverse=True)
    units = int(place_N.max(initial=-1)) + 1
    harmful_U, benign_U = (np.bincount(place_N, flags, minlength=units) > 0 for flags in (harmful_N, ~harmful_N))
    composition_U = harmful_U + 2 * benign_U
    generator = np.random.default_rng(seed)
    times_BU = np.zeros((count, units), np.float32)
    for kind in np.unique(composition_U):
        members = np.flatnonzero(composition_U == kind)
        drawn = generator.integers(len(members), size=(count, len(members))) + np.arange(count)[:, None] * len(
            members
        )
        times_BU[:, members] = np.bincount(drawn.ravel(), minlength=count * len(members)).reshape(count, -1)
    return times_BU[:, place_N]


def difference(
    measure: Measured, candidate_N: Reals, current_N: Reals, harmful_N: Flags, times_BN: NDArray[np.float32]
) -> Difference:
    """Of one measure, between two readings of the same rows.

    Draws that hold one label only say nothing (NaN) and are left out.
    """
    once = np.ones((1, len(harmful_N)), np.float32)
    values = [float(measure(reading_N, harmful_N, once)[0]) for reading_N in (candidate_N, current_N)]
    drawn_B = measure(candidate_N, harmful_N, times_BN) - measure(current_N, harmful_N, times_BN)
    return Difference(values[0], values[1], drawn_B[~np.isnan(drawn_B)])


def auroc(risk_N: Reals, harmful_N: Flags, times_BN: NDArray[np.float32]) -> Reals:
    """As `metrics.auroc` of the rows, each taken as often as drawn; ties count half. Shape (B,)."""
    benign_N, harm_N = risk_N[~harmful_N], risk_N[harmful_N]
    order = np.argsort(benign_N, kind="stable")
    below_BN = _running(times_BN[:, ~harmful_N][:, order])
    first, end = (np.searchsorted(benign_N[order], harm_N, side=side) for side in ("left", "right"))
    times_BH = times_BN[:, harmful_N].astype(np.float64)
    won_B = np.einsum("bh,bh->b", times_BH, below_BN[:, first] + below_BN[:, end]) / 2
    return _quotient(won_B, times_BH.sum(axis=1) * below_BN[:, -1])


def recall_at_1pct(risk_N: Reals, harmful_N: Flags, times_BN: NDArray[np.float32]) -> Reals:
    """As `metrics.recall_at_1pct` of the rows, each taken as often as drawn. Shape (B,)."""
    benign_N, harm_N = np.sort(risk_N[~harmful_N]), np.sort(risk_N[harmful_N])
    order, ranked = (np.argsort(risk_N[rows], kind="stable") for rows in (~harmful_N, harmful_N))
    until_BN = _running(times_BN[:, ~harmful_N][:, order])[:, 1:]
    if not until_BN.shape[1] or not len(harm_N):
        return np.full(len(times_BN), np.nan)
    place_B = np.ceil(0.99 * (until_BN[:, -1] - 1))  # the (1 - 1 %) quantile by the method "higher"
    limit_B = benign_N[np.minimum((until_BN <= place_B[:, None]).sum(axis=1), len(benign_N) - 1)]
    passed_BN = _running(times_BN[:, harmful_N][:, ranked])
    passed_B = passed_BN[np.arange(len(passed_BN)), np.searchsorted(harm_N, limit_B, side="right")]
    return 1 - _quotient(passed_B, passed_BN[:, -1])


def calibration_error(risk_N: Reals, harmful_N: Flags, times_BN: NDArray[np.float32]) -> Reals:
    """As `expected_calibration_error` of the rows, each taken as often as drawn. Shape (B,)."""
    bin_N = np.minimum((risk_N * BINS).astype(int), BINS - 1)
    gap_NK = np.eye(BINS)[bin_N] * (risk_N - harmful_N)[:, None]
    return np.asarray(np.abs(times_BN @ gap_NK).sum(axis=1) / times_BN.sum(axis=1, dtype=np.float64))


def caught(gate_N: Reals, harmful_N: Flags, times_BN: NDArray[np.float32]) -> Reals:
    """Share of harmful rows whose gate is open (1). Shape (B,)."""
    return _quotient(times_BN[:, harmful_N] @ gate_N[harmful_N], times_BN[:, harmful_N].sum(axis=1))


def stopped(gate_N: Reals, harmful_N: Flags, times_BN: NDArray[np.float32]) -> Reals:
    """Share of benign rows whose gate is open (1). Shape (B,)."""
    return caught(gate_N, ~harmful_N, times_BN)


def _running(times_BN: NDArray[np.float32]) -> Reals:
    """Sums over the first 0, 1, ..., N rows, shape (B, N + 1)."""
    return np.pad(np.cumsum(times_BN, axis=1, dtype=np.float64), ((0, 0), (1, 0)))


def _quotient(above_B: Reals, below_B: Reals) -> Reals:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above_B / below_B, np.float64)
