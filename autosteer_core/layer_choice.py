"""Where to probe: held-out recall at 1 % false positives, with the Safety Awareness Score beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr, zscore
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from autosteer_core.labelled import FEW, Labelled, grouped_folds
from autosteer_core.safety_awareness import safety_awareness
from autosteer_core.values import Pooling, Site

FALSE_POSITIVE_RATE = 0.01
Risk = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerReport:
    """Per layer: recall at 1 % false positives by group, SAS with its standard error; and their rank agreement.

    `recall` is of the first site's pooling, `recall_by_pooling` its mean over groups for both. `together` is the mean
    recall of the chosen sites as each was added.
    """

    sites: list[Site]
    together: list[float]
    layers: list[int]
    recall: dict[str, list[float]]
    recall_by_pooling: dict[str, list[float]]
    score: list[float]
    score_error: list[float]
    rank_agreement: float | None


def choose_sites(data: Labelled, seed: int, count: int = 1) -> LayerReport:
    """The site with the best mean recall over groups, on folds that the linear probe never saw, and companions.

    The first such layer wins a tie: an audit that stops earlier is cheaper. Up to `count` - 1 further sites join, one
    by one, while the mean of their standardised risks recalls more. Probes of several sites average what each gets
    wrong by itself.
    """
    layers = list(range(1, data.activations_NLPD.shape[1] + 1))
    folds = grouped_folds(data, seed, min(FEW, data.units))
    # The matrices are small: BLAS threads that wait for each other cost more than they give.
    with threadpool_limits(limits=1):
        risks = {
            Site(layer, pooling): _held_out_risk(data, Site(layer, pooling), folds)
            for pooling in Pooling
            for layer in layers
        }
    means = {site: mean_recall(data, risk) for site, risk in risks.items()}
    sites, together = _forward_selection(data, risks, means, count)
    pooling = sites[0].pooling
    by_group = [recall_by_group(data, risks[Site(layer, pooling)]) for layer in layers]
    score, error = pair_scores(data, pooling)
    curve = [means[Site(layer, pooling)] for layer in layers]
    return LayerReport(
        sites=sites,
        together=together,
        layers=layers,
        recall={group: [found[group] for found in by_group] for group in by_group[0]},
        recall_by_pooling={one.value: [means[Site(layer, one)] for layer in layers] for one in Pooling},
        score=score,
        score_error=error,
        rank_agreement=_rank_agreement(curve, score),
    )


def _forward_selection(
    data: Labelled, risks: dict[Site, Risk], means: dict[Site, float], count: int
) -> tuple[list[Site], list[float]]:
    best = max(means, key=lambda site: means[site])
    sites, together = [best], [means[best]]
    while len(sites) < min(count, len(risks)):
        tried = {
            site: mean_recall(data, np.mean([risks[one] for one in [*sites, site]], axis=0))
            for site in risks
            if site not in sites
        }
        best = max(tried, key=lambda site: tried[site])
        if tried[best] <= together[-1]:
            break
        sites, together = [*sites, best], [*together, tried[best]]
    return sites, together


def _rank_agreement(recall: Sequence[float], score: Sequence[float]) -> float | None:
    """Spearman's rho over layers; None where one of the two does not vary."""
    if np.ptp(recall) == 0 or not np.ptp(score) > 0:
        return None
    return float(spearmanr(recall, score).statistic)


def recall_at(harmful_risk: Risk, benign_risk: Risk, rate: float) -> float:
    """Share of harmful risks above the (1 - rate) quantile of the benign ones."""
    if not len(harmful_risk) or not len(benign_risk):
        return float("nan")
    limit = np.quantile(benign_risk, 1 - rate, method="higher")
    return float((harmful_risk > limit).mean())


def recall_by_group(data: Labelled, risk: Risk) -> dict[str, float]:
    """Of groups that have harmful items; the false-positive limit comes from all benign items."""
    groups = np.unique(data.group_N[data.harmful_N])
    return {
        str(group): recall_at(
            risk[data.harmful_N & (data.group_N == group)], risk[~data.harmful_N], FALSE_POSITIVE_RATE
        )
        for group in groups
    }


def mean_recall(data: Labelled, risk: Risk) -> float:
    """Every group counts the same, whatever its size."""
    return float(np.mean(list(recall_by_group(data, risk).values())))


def _held_out_risk(data: Labelled, site: Site, folds: Sequence[NDArray[np.int64]]) -> Risk:
    """Standardised, so that sites can be averaged."""
    features = data.at(site).numpy()
    risk = np.zeros(len(features))
    for held_out in folds:
        kept = np.setdiff1d(np.arange(len(features)), held_out)
        probe = scout_probe().fit(features[kept], data.harmful_N[kept])
        risk[held_out] = probe.decision_function(features[held_out])
    return np.asarray(zscore(risk))


def scout_probe() -> RidgeClassifier:
    """Least squares in closed form: hundreds of site and fold combinations in seconds."""
    return make_pipeline(StandardScaler(), RidgeClassifier(alpha=1e3, class_weight="balanced"))


def pair_scores(data: Labelled, pooling: Pooling) -> tuple[list[float], list[float]]:
    """SAS over the pairs that hold one harmful and one benign item; NaN when there are fewer than three."""
    harmful = {pair: row for row, pair in enumerate(data.pair_N) if data.harmful_N[row]}
    benign = {pair: row for row, pair in enumerate(data.pair_N) if not data.harmful_N[row]}
    pairs = sorted(harmful.keys() & benign.keys())
    if len(pairs) < 3:
        blank = [float("nan")] * data.activations_NLPD.shape[1]
        return blank, blank
    activations_NLD = data.pooled(pooling)
    score, error = safety_awareness(
        activations_NLD[[harmful[pair] for pair in pairs]], activations_NLD[[benign[pair] for pair in pairs]]
    )
    return score.tolist(), error.tolist()
