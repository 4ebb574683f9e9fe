"""Which layer to probe: held-out recall at 1 % false positives, with the Safety Awareness Score beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from autosteer_core.labelled import Labelled, grouped_folds
from autosteer_core.safety_awareness import safety_awareness

FALSE_POSITIVE_RATE = 0.01


@dataclass(frozen=True, slots=True)
class LayerReport:
    """Per layer: recall at 1 % false positives by group, SAS with its standard error; and their rank agreement."""

    layer: int
    layers: list[int]
    recall: dict[str, list[float]]
    score: list[float]
    score_error: list[float]
    rank_agreement: float | None


def choose_layer(data: Labelled, layers: Sequence[int], seed: int) -> LayerReport:
    """The layer with the best mean recall over groups, measured across folds that the linear probe never saw.

    The first such layer wins a tie: an audit that stops earlier is cheaper.
    """
    recall: dict[str, list[float]] = {}
    # The matrices are small: BLAS threads that wait for each other cost more than they give.
    with threadpool_limits(limits=1):
        for index in range(len(layers)):
            for group, value in _held_out_recall(data, index, seed).items():
                recall.setdefault(group, []).append(value)
    score, error = _scores(data)
    mean = np.mean(list(recall.values()), axis=0)
    return LayerReport(layers[int(mean.argmax())], list(layers), recall, score, error, _rank_agreement(mean, score))


def _rank_agreement(recall: NDArray[np.float64], score: Sequence[float]) -> float | None:
    """Spearman's rho over layers; None where one of the two does not vary."""
    if np.ptp(recall) == 0 or not np.ptp(score) > 0:
        return None
    return float(spearmanr(recall, score).statistic)


def recall_at(harmful_risk: NDArray[np.float64], benign_risk: NDArray[np.float64], rate: float) -> float:
    """Share of harmful risks above the (1 - rate) quantile of the benign ones."""
    if not len(harmful_risk) or not len(benign_risk):
        return float("nan")
    limit = np.quantile(benign_risk, 1 - rate, method="higher")
    return float((harmful_risk > limit).mean())


def _held_out_recall(data: Labelled, index: int, seed: int) -> dict[str, float]:
    """Recall per group that has harmful items; the false-positive limit comes from all benign items."""
    features = data.activations_NLD[:, index].numpy()
    risk = np.zeros(len(features))
    for held_out in grouped_folds(data, seed):
        kept = np.setdiff1d(np.arange(len(features)), held_out)
        risk[held_out] = (
            linear_probe().fit(features[kept], data.harmful_N[kept]).decision_function(features[held_out])
        )
    benign = risk[~data.harmful_N]
    groups = np.unique(data.group_N[data.harmful_N])
    return {
        str(group): recall_at(risk[data.harmful_N & (data.group_N == group)], benign, FALSE_POSITIVE_RATE)
        for group in groups
    }


def linear_probe() -> LogisticRegression:
    """The control: standardised logistic regression, strongly regularised because d exceeds N."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))


def _scores(data: Labelled) -> tuple[list[float], list[float]]:
    """SAS over the pairs that hold one harmful and one benign item; NaN when there are fewer than three."""
    harmful = {pair: row for row, pair in enumerate(data.pair_N) if data.harmful_N[row]}
    benign = {pair: row for row, pair in enumerate(data.pair_N) if not data.harmful_N[row]}
    pairs = sorted(harmful.keys() & benign.keys())
    if len(pairs) < 3:
        blank = [float("nan")] * data.activations_NLD.shape[1]
        return blank, blank
    score, error = safety_awareness(
        data.activations_NLD[[harmful[pair] for pair in pairs]],
        data.activations_NLD[[benign[pair] for pair in pairs]],
    )
    return score.tolist(), error.tolist()
