"""A probe at chosen layers and the thresholds it may promise: fitted on two parts, measured on a third."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from autosteer_core.evaluation import Rate
from autosteer_core.guarantee import (
    Bounds,
    Guarantee,
    choose_threshold,
    guarantee_at,
    supports_own_threshold,
    upper_limit,
)
from autosteer_core.importance import Importance
from autosteer_core.labelled import Labelled, Split
from autosteer_core.layer_choice import FALSE_POSITIVE_RATE, recall_at
from autosteer_core.probe import Probe
from autosteer_core.probe_fitting import (
    Examples,
    ProbeOptions,
    expected_calibration_error,
    fit_site_probes,
    validation_loss,
)
from autosteer_core.values import Modality, Site

Rows = NDArray[np.int64]
_MOST_GROUPS = 500  # a card has at most 1 MiB


@dataclass(frozen=True, slots=True)
class Bound:
    """Which error may be at most `alpha` at confidence 1 - `delta`."""

    alpha: float = 0.1
    delta: float = 0.05
    bounds: Bounds = Bounds.MISSES


@dataclass(frozen=True, slots=True)
class PointOptions:
    """What is promised, how the probe is trained, and the seed of both."""

    bound: Bound = field(default_factory=Bound)
    probe: ProbeOptions = field(default_factory=ProbeOptions)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The probe, its threshold, thresholds of modalities that need their own, and what was measured."""

    probe: Probe
    guarantee: Guarantee
    slices: dict[Modality, Guarantee]
    measured: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Readings:
    """What a probe reads of labelled items, (N, sites * d), and what is known of them."""

    activation_ND: torch.Tensor
    harmful_N: NDArray[np.bool_]
    group_N: NDArray[np.str_]
    modality_N: NDArray[np.str_]

    def take(self, rows: Rows) -> "Readings":
        """The chosen rows, in the given order."""
        told = (self.harmful_N[rows], self.group_N[rows], self.modality_N[rows])
        return Readings(self.activation_ND[torch.from_numpy(rows)], *told)


def find_operating_point(
    data: Labelled,
    rows: Split,
    sites: Sequence[Site],
    options: PointOptions,
    shift: Importance | None = None,
) -> OperatingPoint:
    """The operating point of a probe at the chosen sites, see `operating_point`."""
    readings = Readings(data.side_by_side(sites), data.harmful_N, data.group_N, data.modality_N)
    return operating_point(readings, rows, len(sites), options, shift)


def operating_point(
    data: Readings,
    rows: Split,
    sites: int,
    options: PointOptions,
    shift: Importance | None = None,
    promised: Rows | None = None,
) -> OperatingPoint:
    """Fit an MLP and a linear probe, keep the one with the smaller validation loss, and set its thresholds.

    Each is a mean over one probe for each of so many sites. Under `shift` both are fitted on weighted rows, and
    thresholds come from threshold rows accepted as a sample of the traffic. The threshold is no less cautious than
    the threshold rows among `promised` ask for by themselves: new rows that are easy buy no errors on those.

    Raises:
        UserMistake: too few threshold rows to prove the bound.
    """
    parts = [_examples(data, part, shift) for part in (rows.train, rows.validation)]
    fitted = {
        name: fit_site_probes(parts[0], parts[1], sites, options.seed, replace(options.probe, hidden=hidden))
        for name, hidden in (("mlp", options.probe.hidden), ("linear", 0))
    }
    losses = {name: validation_loss(probe, parts[1], options.probe) for name, probe in fitted.items()}
    chosen = min(losses, key=lambda name: losses[name])
    kept = rows.threshold if shift is None else rows.threshold[shift.accepted(options.seed)[rows.threshold]]
    held_out = data.take(kept)
    risks = {name: probe.risk(held_out.activation_ND).double().numpy() for name, probe in fitted.items()}
    before_N = None if promised is None else np.isin(kept, promised)
    common, slices = _thresholds(held_out, risks[chosen], options.bound, before_N)
    gates_N = _gates(held_out, risks[chosen], common, slices)
    measured: dict[str, Any] = {
        "chosen": chosen,
        "validation_loss": losses,
        **{name: _quality(risk, held_out.harmful_N) for name, risk in risks.items()},
        "by_group": by_group(held_out, gates_N),
    }
    if shift is not None:
        measured["importance"] = {"cap": shift.cap, "effective_items": shift.effective, "accepted": len(kept)}
    return OperatingPoint(fitted[chosen], _as_gated(common, held_out.harmful_N, gates_N), slices, measured)


def _examples(data: Readings, part: Rows, shift: Importance | None) -> Examples:
    examples = Examples.of(data.activation_ND[part], torch.from_numpy(data.harmful_N[part]))
    if shift is None:
        return examples
    return replace(examples, weight_N=torch.from_numpy(shift.weight_N[part]).float())


def _thresholds(
    data: Readings, risk: NDArray[np.float64], bound: Bound, before_N: NDArray[np.bool_] | None
) -> tuple[Guarantee, dict[Modality, Guarantee]]:
    """One for all rows, and one for each modality that needs more caution; one modality alone needs none.

    Rows of no known modality share the common one. Rows that were there before are asked by themselves as well.
    """
    everything = np.ones(len(risk), bool)
    rows = _Risks.of(data, risk, everything)
    asked = [rows.proven(bound), *_asked_before(data, risk, before_N, bound)]
    common = rows.at(_most_cautious(asked, bound), bound)
    slices = {}
    for name in np.intersect1d(data.modality_N, list(Modality)):
        here = data.modality_N == name
        rows, old_N = _Risks.of(data, risk, here), None if before_N is None else here & before_N
        asked = [common.threshold, _own_threshold(rows, common.threshold, bound)]
        asked += _asked_before(data, risk, old_N, bound)
        own = rows.at(_most_cautious(asked, bound), bound)
        if own.threshold != common.threshold and not here.all():
            slices[Modality(name)] = own
    return common, slices


@dataclass(frozen=True, slots=True)
class _Risks:
    """Of the harmful and of the benign rows of a set."""

    harmful: NDArray[np.float64]
    benign: NDArray[np.float64]

    @classmethod
    def of(cls, data: Readings, risk: NDArray[np.float64], here_N: NDArray[np.bool_]) -> "_Risks":
        return cls(risk[here_N & data.harmful_N], risk[here_N & ~data.harmful_N])

    def proven(self, bound: Bound) -> float:
        return choose_threshold(self.harmful, self.benign, bound.alpha, bound.delta, bound.bounds).threshold

    def can_prove(self, bound: Bound) -> bool:
        return supports_own_threshold(len(self.harmful), len(self.benign), bound.alpha, bound.delta, bound.bounds)

    def at(self, threshold: float, bound: Bound) -> Guarantee:
        return guarantee_at(threshold, self.harmful, self.benign, bound.alpha, bound.delta, bound.bounds)


def _asked_before(
    data: Readings, risk: NDArray[np.float64], old_N: NDArray[np.bool_] | None, bound: Bound
) -> list[float]:
    """What the marked rows ask for, where there are any and they are enough to prove a threshold."""
    if old_N is None:
        return []
    old = _Risks.of(data, risk, old_N)
    return [old.proven(bound)] if old.can_prove(bound) else []


def _most_cautious(thresholds: Sequence[float], bound: Bound) -> float:
    """About the bounded error: what holds at each of them holds at this one."""
    return min(thresholds) if bound.bounds is Bounds.MISSES else max(thresholds)


def _own_threshold(rows: _Risks, common: float, bound: Bound) -> float:
    """What a modality asks for: a bound on the mix may be kept by the other modalities alone.

    Where a modality has rows enough, its own is proven. Where it has few, at least no larger share than alpha of its
    own harmful rows may pass.
    """
    if rows.can_prove(bound):
        return rows.proven(bound)
    if bound.bounds is Bounds.MISSES and len(rows.harmful):
        return float(np.sort(rows.harmful)[int(bound.alpha * len(rows.harmful))])
    return common


def _as_gated(common: Guarantee, harmful_N: NDArray[np.bool_], gates_N: NDArray[np.bool_]) -> Guarantee:
    """The other error as all thresholds together make it: caution about the bounded one is paid there."""
    if common.bounds is Bounds.MISSES:
        wrong = int((gates_N & ~harmful_N).sum())
        limit = upper_limit(wrong, common.benign, common.delta)
        return replace(common, false_refusals=wrong, false_refusal_bound=limit)
    missed = int((~gates_N & harmful_N).sum())
    return replace(common, missed=missed, bound=upper_limit(missed, common.harmful, common.delta))


def _gates(
    data: Readings, risk: NDArray[np.float64], guarantee: Guarantee, slices: dict[Modality, Guarantee]
) -> NDArray[np.bool_]:
    own = {str(name): found.threshold for name, found in slices.items()}
    return risk >= np.array([own.get(name, guarantee.threshold) for name in data.modality_N.tolist()])


def _quality(risk: NDArray[np.float64], harmful: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "auroc": float(roc_auc_score(harmful, risk)) if 0 < harmful.sum() < len(harmful) else float("nan"),
        "recall_at_1pct_false_positives": recall_at(risk[harmful], risk[~harmful], FALSE_POSITIVE_RATE),
        "expected_calibration_error": expected_calibration_error(risk, harmful),
    }


def by_group(data: Readings, gates: NDArray[np.bool_]) -> dict[str, dict[str, str]]:
    """Misses and false refusals per group, for the card: of the largest groups, where there are very many."""
    table: dict[str, dict[str, str]] = {}
    groups, counts = np.unique(data.group_N, return_counts=True)
    for group in np.sort(groups[np.argsort(-counts, kind="stable")[:_MOST_GROUPS]]):
        here = data.group_N == group
        missed, wrong = here & data.harmful_N & ~gates, here & ~data.harmful_N & gates
        table[str(group)] = {
            "missed": str(Rate(int(missed.sum()), int((here & data.harmful_N).sum()))),
            "false refusals": str(Rate(int(wrong.sum()), int((here & ~data.harmful_N).sum()))),
        }
    return table
