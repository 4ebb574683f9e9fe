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

    Rows of no known modality share the common one.
    """
    common = choose_threshold(risk[data.harmful_N], risk[~data.harmful_N], bound.alpha, bound.delta, bound.bounds)
    if before_N is not None:
        common = _as_cautious(common, data.harmful_N, risk, before_N)
    slices = {}
    for name in np.intersect1d(data.modality_N, list(Modality)):
        here = data.modality_N == name
        own = _own_threshold(risk[here & data.harmful_N], risk[here & ~data.harmful_N], common)
        if own.threshold != common.threshold and not here.all():
            slices[Modality(name)] = own
    return common, slices


def _as_cautious(
    common: Guarantee, harmful_N: NDArray[np.bool_], risk: NDArray[np.float64], before_N: NDArray[np.bool_]
) -> Guarantee:
    """The common one, or that of the marked rows alone where it is more cautious and they are enough to prove one."""
    harmful, benign = risk[before_N & harmful_N], risk[before_N & ~harmful_N]
    limits = (common.alpha, common.delta, common.bounds)
    if not supports_own_threshold(len(harmful), len(benign), *limits):
        return common
    both = (choose_threshold(harmful, benign, *limits).threshold, common.threshold)
    cautious = min(both) if common.bounds is Bounds.MISSES else max(both)
    return guarantee_at(cautious, risk[harmful_N], risk[~harmful_N], *limits)


def _own_threshold(harmful: NDArray[np.float64], benign: NDArray[np.float64], common: Guarantee) -> Guarantee:
    """Never less cautious than the common one about the bounded error, so that the bound on the mix holds as well.

    A bound on the mix may be kept by the other modalities alone. Where a modality has rows enough, its own is
    proven. Where it has few, at least no larger share than alpha of its own harmful rows may pass.
    """
    limits = (common.alpha, common.delta, common.bounds)
    misses = common.bounds is Bounds.MISSES
    if supports_own_threshold(len(harmful), len(benign), *limits):
        own = choose_threshold(harmful, benign, *limits).threshold
    elif misses and len(harmful):
        own = float(np.sort(harmful)[int(common.alpha * len(harmful))])
    else:
        own = common.threshold
    cautious = min(own, common.threshold) if misses else max(own, common.threshold)
    return guarantee_at(cautious, harmful, benign, *limits)


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
