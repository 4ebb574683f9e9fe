"""Covariate shift: weigh labelled items by how much they look like the traffic that the bundle will meet."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # too strong a penalty hides the shift, too weak a one invents it


@dataclass(frozen=True, slots=True)
class Importance:
    """Weight per labelled item, (N,), mean 1 and at most `cap`; `effective` is Kish's effective sample size."""

    weight_N: NDArray[np.float64]
    cap: float

    @property
    def effective(self) -> float:
        """How many equally weighted items would tell as much: (sum w)^2 / sum w^2."""
        return float(self.weight_N.sum() ** 2 / np.square(self.weight_N).sum())

    def accepted(self, seed: int) -> NDArray[np.bool_]:
        """A sample of the traffic drawn from the labelled items: keep each with probability weight / largest.

        Exact binomial limits need equally weighted items; on an accepted sample they hold again, at the price of
        fewer items (rejection sampling), as far as the weights are right.
        """
        draw = np.random.default_rng(seed).random(len(self.weight_N))
        return np.asarray(draw * self.weight_N.max() < self.weight_N)


def importance(labelled_ND: NDArray[np.float32], traffic_MD: NDArray[np.float32], cap: float = 10.0) -> Importance:
    """Density ratio traffic / labelled by a classifier between the two (Sugiyama et al., 2012, ch. 4), capped.

    The cap bounds the variance that a few far-off items could cause, at the price of some bias.
    """
    features = np.concatenate([labelled_ND, traffic_MD])
    is_traffic = np.arange(len(features)) >= len(labelled_ND)
    with threadpool_limits(limits=1):
        classifier = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=_STRENGTHS, cv=3, max_iter=500))
        odds = np.exp(classifier.fit(features, is_traffic).decision_function(labelled_ND))
    ratio = odds * len(labelled_ND) / len(traffic_MD)
    weight_N = np.minimum(ratio / ratio.mean(), cap)
    return Importance(weight_N / weight_N.mean(), cap)
