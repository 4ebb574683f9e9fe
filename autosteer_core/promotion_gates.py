"""May this candidate take the place of the bundle that serves? Every reason against it; none means yes.

First what it is: sound numbers, the same model and sites, made from the bundle that serves, from labels that are new
and are not the holdout's. Then what it promises, what it reaches by itself on the locked holdout, and how it compares
there with the current bundle. TFX calls the last two value and change thresholds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isclose, isfinite

import numpy as np
import torch
from scipy.stats import binom

from autosteer_core.bundle import Bundle
from autosteer_core.bundle_comparison import comparisons
from autosteer_core.bundle_tensors import HEAD, PROBE
from autosteer_core.bundle_values import check_values
from autosteer_core.errors import BundleRefused
from autosteer_core.gate_limits import GateLimits as GateLimits
from autosteer_core.guarantee import Bounds, Guarantee, upper_limit
from autosteer_core.holdout_scores import score
from autosteer_core.material import Material, Origin, Use
from autosteer_core.metrics import auroc
from autosteer_core.probe_fitting import expected_calibration_error

_AGAIN = "keep the current bundle, add labels that reviewers gave and retrain"
_BY_CHANCE = 0.01  # a promise that holds is broken so badly in one holdout of a hundred


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason against a candidate: a stable code, and a sentence with what was found and what is expected."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Training:
    """What a candidate was fitted on: the snapshot, and how many of its rows the parent had not."""

    material: Material
    new_labels: int


def gate(
    candidate: Bundle,
    current: Bundle | None,
    holdout: Material,
    limits: GateLimits,
    training: Training | None = None,
) -> list[Refusal]:
    """Every reason against the candidate, in a fixed order; an empty list accepts it.

    Without `current` only promise and floors count. Without `training`, of a bundle that was made elsewhere, nothing
    is known of its labels. What is not sound is not measured.
    """
    unsound = [*_values(candidate), *_kinship(candidate, current), *_usable(holdout, candidate, limits)]
    if training is not None:
        unsound += [*_labels(training, limits), *_leaks(training.material, holdout)]
    if unsound:
        return unsound
    worse = [each for each in (comparisons(candidate, current, holdout, limits) if current else []) if not each.kept]
    return [
        *_promise(candidate, current),
        *_broken(candidate, holdout),
        *_floors(candidate, holdout, limits),
        *(Refusal(one.rule.code, f"{one}, expected below {one.rule.margin:g}: {_AGAIN}") for one in worse),
    ]


def _values(candidate: Bundle) -> Iterator[Refusal]:
    """The numbers that a file would be refused for; a candidate may never have been a file."""
    tensors = {PROBE + name: tensor for name, tensor in candidate.probe.tensors().items()}
    tensors |= {HEAD + name: tensor for name, tensor in candidate.head.tensors().items()}
    try:
        check_values(tensors)
    except BundleRefused as refused:
        yield Refusal(refused.code, str(refused))


def _kinship(candidate: Bundle, current: Bundle | None) -> Iterator[Refusal]:
    """What no row of a holdout can measure has to be the same."""
    if current is None:
        return
    if candidate.fingerprint != current.fingerprint:
        yield Refusal(
            "E_ARTIFACT_BASE",
            f"the candidate was fitted on model {candidate.fingerprint[:12]}, the current bundle on "
            f"{current.fingerprint[:12]}: retrain from activations of the model that serves",
        )
    if candidate.sites != current.sites:
        yield Refusal(
            "E_GATE_SITES",
            f"the candidate reads {_told(candidate)}, the current bundle {_told(current)}: stored activations are of "
            "the current sites, so calibrate and publish it as a first bundle",
        )
    told = candidate.report.get("retraining")
    parent = told.get("parent") if isinstance(told, dict) else None
    if parent is not None and parent != current.bundle_id:
        yield Refusal(
            "E_ARTIFACT_STALE",
            f"the candidate was retrained from {parent}, the bundle that serves is {current.bundle_id}: another was "
            "promoted meanwhile, retrain from that one",
        )
    changed = [name for name, parts in _beside_the_probe(candidate, current) if not _same(*parts)]
    if changed:
        yield Refusal(
            "E_GATE_HEAD",
            f"the candidate changes {', '.join(changed)}, which no gate measures: promote it by hand after an "
            "evaluation, or retrain the probe alone",
        )


def _beside_the_probe(candidate: Bundle, current: Bundle) -> Iterator[tuple[str, tuple[object, object]]]:
    for name in ("head", "gate_action", "refusal", "refusals", "second_look"):
        yield name, (getattr(candidate, name), getattr(current, name))


def _same(one: object, other: object) -> bool:
    """By value, where dataclasses of tensors compare elementwise."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    fields = getattr(one, "__dataclass_fields__", None)
    if fields is None or type(one) is not type(other):
        return one == other
    return all(_same(getattr(one, name), getattr(other, name)) for name in fields)


def _told(bundle: Bundle) -> str:
    return Origin(bundle.fingerprint, bundle.sites).sites_text


def _usable(holdout: Material, candidate: Bundle, limits: GateLimits) -> Iterator[Refusal]:
    if holdout.origin != Origin(candidate.fingerprint, candidate.sites):
        yield Refusal(
            "E_GATE_HOLDOUT",
            f"the holdout is of model {holdout.origin.fingerprint[:12]} at sites {holdout.origin.sites_text}, the "
            f"candidate of {candidate.fingerprint[:12]} at {_told(candidate)}: name the holdout of this registry",
        )
    wrong = int((~torch.isfinite(holdout.activation_ND)).any(dim=1).sum())
    if wrong:
        yield Refusal(
            "E_GATE_HOLDOUT",
            f"{wrong} of {len(holdout)} rows of the holdout hold numbers that are not finite: calibrate anew",
        )
    harmful = int(holdout.harmful_N.sum())
    if min(harmful, len(holdout) - harmful) < limits.rows:
        yield Refusal(
            "E_GATE_HOLDOUT",
            f"the holdout has {harmful} harmful and {len(holdout) - harmful} benign rows, expected at least "
            f"{limits.rows} of each: calibrate on more items",
        )


def _labels(training: Training, limits: GateLimits) -> Iterator[Refusal]:
    if training.new_labels < limits.new_labels:
        yield Refusal(
            "E_GATE_LABELS",
            f"the candidate has {training.new_labels} labels that its parent had not, expected at least "
            f"{limits.new_labels}: wait for more labels",
        )


def _leaks(material: Material, holdout: Material) -> Iterator[Refusal]:
    """A row by what was shown, or by its unit: a twin of a holdout row tells as much as the row."""
    used = material.take(material.use_N != Use.HOLDOUT.value)
    content = np.isin(used.content_N.astype("S"), holdout.content_N.astype("S"))
    leaked = content | np.isin(used.unit_N, holdout.unit_N)
    if leaked.any():
        yield Refusal(
            "E_GATE_LEAK",
            f"{leaked.sum()} of {len(used)} rows that the candidate was made from belong to the holdout, "
            f"{content.sum()} by content, the others by unit: take them out and retrain",
        )


def _promise(candidate: Bundle, current: Bundle | None) -> Iterator[Refusal]:
    """The guarantee says itself whether it is kept; it may not promise less than the current one."""
    for name, found in [("all rows", candidate.guarantee), *candidate.slices.items()]:
        if not _consistent(found):
            yield _no_promise(f"for {name} states limits that do not follow from its own counts")
    promised = candidate.guarantee
    if _bounded(promised) > promised.alpha:
        yield _no_promise(f"proves {promised.bounds} of at most {_bounded(promised):.3f}, not {promised.alpha:g}")
    if current is not None and not _promises_as_much(promised, current.guarantee):
        yield _no_promise(
            f"bounds {promised.bounds} by {promised.alpha:g} at confidence {1 - promised.delta:g}, the current one "
            f"{current.guarantee.bounds} by {current.guarantee.alpha:g} at {1 - current.guarantee.delta:g}"
        )
    for modality, own in candidate.slices.items():
        if promised.bounds is Bounds.MISSES and own.threshold > promised.threshold:
            yield _no_promise(f"lets {modality} pass up to {own.threshold:.3f}, all rows to {promised.threshold:.3f}")


def _no_promise(what: str) -> Refusal:
    return Refusal("E_GATE_GUARANTEE", f"the candidate's guarantee {what}: retrain with more threshold rows")


def _consistent(found: Guarantee) -> bool:
    limits = (
        (found.bound, upper_limit(found.missed, found.harmful, found.delta)),
        (found.false_refusal_bound, upper_limit(found.false_refusals, found.benign, found.delta)),
    )
    counts = 0 <= found.missed <= found.harmful and 0 <= found.false_refusals <= found.benign
    return counts and isfinite(found.threshold) and all(isclose(*pair, rel_tol=1e-6) for pair in limits)


def _bounded(found: Guarantee) -> float:
    return found.bound if found.bounds is Bounds.MISSES else found.false_refusal_bound


def _promises_as_much(candidate: Guarantee, current: Guarantee) -> bool:
    return (
        candidate.bounds is current.bounds and candidate.alpha <= current.alpha and candidate.delta <= current.delta
    )


def _broken(candidate: Bundle, holdout: Material) -> Iterator[Refusal]:
    """The promise, on rows that no threshold has seen: refused where chance alone hardly explains the errors."""
    promised, gate_N = candidate.guarantee, score(candidate, holdout).gate_N
    wrong_N = ~gate_N[holdout.harmful_N] if promised.bounds is Bounds.MISSES else gate_N[~holdout.harmful_N]
    wrong = int(wrong_N.sum())
    if binom.sf(wrong - 1, len(wrong_N), promised.alpha) < _BY_CHANCE:
        yield Refusal(
            "E_GATE_GUARANTEE",
            f"the candidate's gate is wrong on {wrong} of {len(wrong_N)} holdout rows, its guarantee bounds "
            f"{promised.bounds} by {promised.alpha:g}: its threshold rows are not like the holdout, retrain",
        )


def _floors(candidate: Bundle, holdout: Material, limits: GateLimits) -> Iterator[Refusal]:
    scores = score(candidate, holdout)
    found, error = auroc(scores.risk_N, scores.harmful_N), expected_calibration_error(scores.risk_N, scores.harmful_N)
    if not found >= limits.auroc:
        yield Refusal(
            "E_GATE_FLOOR", f"AUROC on the holdout is {found:.3f}, expected at least {limits.auroc}: {_AGAIN}"
        )
    if not error <= limits.calibration_error:
        yield Refusal(
            "E_GATE_FLOOR",
            f"calibration error on the holdout is {error:.3f}, expected at most {limits.calibration_error}: {_AGAIN}",
        )
