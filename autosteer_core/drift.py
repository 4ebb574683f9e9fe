"""Whether what comes in still looks like what the probe was calibrated on: by its risks, and by its activations.

An index of the risks alone is blind to a new kind of harm, for the probe calls it benign like all the rest; so the
activations are compared too, and the rows that are least like the reference are told.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

LARGE_PSI, SMALL_P = 0.25, 0.001
_BINS = 10
_ROWS, _FEATURES, _SHUFFLES = 1000, 256, 999
_DIRECTIONS, _UNUSUAL = 64, 0.99


@dataclass(frozen=True, slots=True)
class Drift:
    """A run against a reference. `psi` is of the risks; `statistic` and `p` are of the two-sample test.

    `rows` and `reference_rows` tell of how many. `unlike` counts the rows further away than 99 % of the reference,
    whose name `reference` is.
    """

    run_id: str
    psi: float
    statistic: float
    p: float
    rows: int
    reference_rows: int
    unlike: int
    reference: str = ""

    @property
    def alarm(self) -> bool:
        """One of a thousand samples of the reference itself raises it by the test, hardly any by the index."""
        return self.psi >= LARGE_PSI or self.p <= SMALL_P

    def as_json(self) -> dict[str, Any]:
        """All of it, as it is stored."""
        return asdict(self) | {"alarm": self.alarm}


def psi(reference: NDArray[np.floating], current: NDArray[np.floating]) -> float:
    """Population stability index over ten bins that hold equal shares of the reference; 0 where all is alike.

    By custom (Siddiqi, Credit Risk Scorecards, 2006) below 0.1 is stable and above 0.25 is another population. Half a
    row is added to every bin, so that an empty one is no infinity; values that are not finite are left out.
    """
    # One width of numbers: many equal risks that differ in the last digit would be two populations.
    reference, current = (np.asarray(values, np.float32) for values in (reference, current))
    reference, current = (values[np.isfinite(values)] for values in (reference, current))
    if not len(reference) or not len(current):
        return 0.0
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, _BINS + 1)[1:-1]))
    before, now = (_shares(values, edges) for values in (reference, current))
    return float(((now - before) * np.log(now / before)).sum())


def _shares(values: NDArray[np.floating], edges: NDArray[np.floating]) -> NDArray[np.floating]:
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return np.asarray((counts + 0.5) / (counts + 0.5).sum())


def two_sample(reference_ND: Array, current_ND: Array, seed: int) -> tuple[float, float]:
    """Maximum mean discrepancy of at most 1000 rows each, and its p-value over 999 shuffles of who is who.

    A Gaussian kernel of median width (Gretton et al., JMLR 2012) by 256 random features (Rahimi and Recht, NeurIPS
    2007). The same arrays and seed give the same answer; fewer than two rows on a side prove nothing, p is 1.
    """
    if min(len(reference_ND), len(current_ND)) < 2:
        return 0.0, 1.0
    random = np.random.default_rng(seed)
    reference_ND, current_ND = (_some(rows_ND, _ROWS, random) for rows_ND in (reference_ND, current_ND))
    both_ND = _standardised(np.concatenate([reference_ND, current_ND]), reference_ND)
    features_NF = _features(both_ND, random)
    first = len(reference_ND)
    statistic = _gaps(features_NF, first, np.arange(len(both_ND))[None])[0]
    shuffles = random.permuted(np.tile(np.arange(len(both_ND)), (_SHUFFLES, 1)), axis=1)
    reached = int((_gaps(features_NF, first, shuffles) >= statistic).sum())
    return float(statistic), (1 + reached) / (1 + _SHUFFLES)


def _gaps(features_NF: Array, first: int, orders_SN: NDArray[np.int64]) -> Array:
    """Squared distance of the two means, for every order of which the `first` rows are one side."""
    side_SN = np.zeros(orders_SN.shape, np.float32)
    np.put_along_axis(side_SN, orders_SN[:, :first], np.float32(1 / first), axis=1)
    np.put_along_axis(side_SN, orders_SN[:, first:], np.float32(-1 / (orders_SN.shape[1] - first)), axis=1)
    return np.asarray(np.square(side_SN @ features_NF).sum(1))


def _features(rows_ND: Array, random: np.random.Generator) -> Array:
    """Their inner products are the kernel's values, about."""
    pairs = random.integers(0, len(rows_ND), (2, 500))
    width = float(np.median(np.linalg.norm(rows_ND[pairs[0]] - rows_ND[pairs[1]], axis=1))) or 1.0
    waves_DF = random.standard_normal((rows_ND.shape[1], _FEATURES), np.float32) / np.float32(width)
    angles_NF = rows_ND @ waves_DF
    return np.asarray(np.concatenate([np.cos(angles_NF), np.sin(angles_NF)], 1) / np.sqrt(np.float32(_FEATURES)))


def _some(rows_ND: Array, most: int, random: np.random.Generator) -> Array:
    if len(rows_ND) <= most:
        return rows_ND
    return rows_ND[np.sort(random.choice(len(rows_ND), most, replace=False))]


def _standardised(rows_ND: Array, reference_ND: Array) -> Array:
    """Every value counts alike, whatever its scale; one that never changes in the reference counts as it is."""
    scale_D = reference_ND.std(0)
    return np.asarray((rows_ND - reference_ND.mean(0)) / np.where(scale_D > 0, scale_D, 1), np.float32)


@dataclass(frozen=True, slots=True)
class Usual:
    """How far from the reference a row is: along its main directions (Mahalanobis), and beside them.

    `limit` is the distance that 99 % of the reference's rows keep. `centre_K` and `spread_K` are of the coordinates
    that `_along` gives: one a direction, and what is left beside all of them.
    """

    mean_D: Array
    directions_DK: Array
    centre_K: Array
    spread_K: Array
    limit: float

    @classmethod
    def of(cls, reference_ND: Array, seed: int) -> "Usual":
        """Half of the rows give the directions and the other half the limit: for its own rows, any fit is good."""
        random = np.random.default_rng(seed)
        order = random.permutation(len(reference_ND))
        fitted_ND, kept_ND = (reference_ND[np.sort(half)] for half in np.array_split(order, 2))
        fitted_ND = _some(fitted_ND, 2 * _ROWS, random)
        mean_D = fitted_ND.mean(0)
        _, _, directions_KD = np.linalg.svd(fitted_ND - mean_D, full_matrices=False)
        directions_DK = directions_KD[: min(_DIRECTIONS, max(1, len(fitted_ND) // 4))].T
        kept_NK = _along(kept_ND - mean_D, directions_DK)
        spread_K = kept_NK.std(0)
        plain = cls(mean_D, directions_DK, kept_NK.mean(0), np.where(spread_K > 0, spread_K, 1), 0.0)
        return replace(plain, limit=float(np.quantile(plain(kept_ND), _UNUSUAL)))

    def __call__(self, rows_ND: Array) -> Array:
        """Distances, (N,)."""
        along_NK = _along(rows_ND - self.mean_D, self.directions_DK)
        return np.asarray(np.linalg.norm((along_NK - self.centre_K) / self.spread_K, axis=1))


def _along(centred_ND: Array, directions_DK: Array) -> Array:
    """Coordinates along the directions, and the length of what is left, (N, K + 1)."""
    along_NK = centred_ND @ directions_DK
    beside_N = np.sqrt(np.maximum(np.square(centred_ND).sum(1) - np.square(along_NK).sum(1), 0))
    return np.concatenate([along_NK, beside_N[:, None]], 1)
