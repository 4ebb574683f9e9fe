"""Whether a bundle that is tried does harm: a test that may be looked at after every row, for as long as one likes.

For a share that shall be at most a limit, the evidence against it is a mean of likelihood ratios of larger shares
against the limit. Below the limit it is a supermartingale, so that it ever reaches 1 / level is at most as probable
as the level (Ville 1939; Robbins 1970 for the mixture). A t-test that is looked at often has no such promise.
Rows count as independent: a flood of equal items is evidence many times.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MEASURES = 3
_STEPS = 2.0 ** -np.arange(1, 9)  # of the way from the limit to 1: a jump of half is seen as well as one of 1 in 256


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """Shares of rows that may be; `level` is the probability of a false alarm, ever, of all measures together.

    `opened` and `closed`: gates that the bundle that serves leaves closed, or open. `failed`: rows that the tried
    bundle decided, and that got no number from it.
    """

    opened: float = 0.25
    closed: float = 0.05
    failed: float = 0.01
    level: float = 0.01


@dataclass(frozen=True, slots=True)
class Counts:
    """Of rows that both bundles read: gates that differ, risks that are no number. `decided` by the tried one."""

    rows: int = 0
    opened: int = 0
    closed: int = 0
    no_number: int = 0
    decided: int = 0
    failed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Of both together."""
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


def breach(counts: Counts, limits: GuardLimits) -> str | None:
    """Why the bundle has to go, in one sentence; None while there is no reason."""
    if counts.no_number:
        return f"{counts.no_number} of {counts.rows} rows have a risk that is no number"
    level = limits.level / _MEASURES
    measures = [
        (counts.opened, counts.rows, limits.opened, "gates are open that were closed"),
        (counts.closed, counts.rows, limits.closed, "gates are closed that were open"),
        (counts.failed, counts.decided, limits.failed, "rows failed for want of a number"),
    ]
    for hits, rows, limit, what in measures:
        if rows and bool(alarm(hits, rows, limit, level)):
            return f"{hits} of {rows} {what}, at most {limit:.1%} may be"
    return None


def alarm(hits: ArrayLike, rows: ArrayLike, limit: float, level: float) -> NDArray[np.bool_]:
    """Whether so many hits among so many rows are too many; arrays of one shape, or numbers."""
    return np.asarray(log_evidence(hits, rows, limit) >= -math.log(level))


def log_evidence(hits: ArrayLike, rows: ArrayLike, limit: float) -> NDArray[np.float64]:
    """Natural log of the evidence that the share is above `limit`, in (0, 1); 0 before the first row."""
    hits_N, rows_N = np.asarray(hits, np.float64), np.asarray(rows, np.float64)
    total_N = np.full(np.broadcast_shapes(hits_N.shape, rows_N.shape), -np.inf)
    for step in _STEPS:
        share = limit + (1 - limit) * step
        gain, loss = math.log(share / limit), math.log((1 - share) / (1 - limit))
        total_N = np.logaddexp(total_N, hits_N * gain + (rows_N - hits_N) * loss)
    evidence: NDArray[np.float64] = total_N - math.log(len(_STEPS))
    return evidence
