"""Covariate shift: weigh labelled items by how much they look like the traffic that the bundle will meet."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from autosteer_core.errors import UserMistake

MIN_TRAFFIC = 10
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # too strong a penalty hides the shift, too weak a one invents it


@dataclass(frozen=True, slots=True)
class Importance:
    """Weight per labelled item, (N,), at most `cap`, with mean 1 but for what the cap cut off."""

    weight_N: NDArray[np.float64]
    cap: float

    @property
    def effective(self) -> float:
        """How many equally weighted items would tell as much: (sum w)^2 / sum w^2 (Kish)."""
        return float(self.weight_N.sum() ** 2 / np.square(self.weight_N).sum())

    def accepted(self, seed: int) -> NDArray[np.bool_]:
        """A sample of the traffic drawn from the labelled items: keep each with probability weight / largest.

        Exact binomial limits need equally weighted items; on an accepted sample they hold again, at the price of
        fewer items (rejection sampling), as far as the weights are right.
        """
        draw = np.random.default_rng(seed).random(len(self.weight_N))
        return np.asarray(draw * self.weight_N.max() < self.weight_N)


def importance(
    labelled_ND: NDArray[np.float32], fitted: NDArray[np.int64], traffic_MD: NDArray[np.float32], cap: float = 10.0
) -> Importance:
    """Density ratio traffic / labelled by a classifier between the two (Sugiyama et al., 2012, ch. 4), capped.

    The classifier, its scale and the largest weight come from the `fitted` rows; the others are only weighed, so that
    thresholds on them stay untouched. The cap bounds the variance that a few far-off items could cause, at the price
    of some bias.

    Raises:
        UserMistake: too little traffic to tell what it is like.
    """
    if len(traffic_MD) < MIN_TRAFFIC:
        raise UserMistake(f"{len(traffic_MD)} items of the traffic can be read, at least {MIN_TRAFFIC} are needed")
    known_ND = labelled_ND[fitted]
    features = np.concatenate([known_ND, traffic_MD])
    with threadpool_limits(limits=1):
        classifier = make_pipeline(
            StandardScaler(), LogisticRegressionCV(Cs=_STRENGTHS, cv=3, scoring="neg_log_loss", max_iter=500)
        )
        classifier.fit(features, np.arange(len(features)) >= len(known_ND))
        odds_N = np.exp(classifier.decision_function(labelled_ND))
    ratio_N = odds_N / odds_N[fitted].mean()
    return Importance(np.minimum(ratio_N, min(cap, ratio_N[fitted].max())), cap)
