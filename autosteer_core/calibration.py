"""Labelled items to a bundle: choose the sites, fit probe and head, set the threshold, measure it held out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autosteer_core.action_comparison import Baselines, Decoding, best_strength, clearly_best, compare_actions
from autosteer_core.activations import read_activations, read_sites
from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.budget import Budget
from autosteer_core.bundle import Bundle
from autosteer_core.head_fitting import HeadOptions, fit_head
from autosteer_core.importance import Importance, importance
from autosteer_core.kept_activations import content_hash
from autosteer_core.labelled import HoldOut, Labelled, Split, equal_together, labelled, split
from autosteer_core.layer_choice import choose_sites
from autosteer_core.material import Material, Origin
from autosteer_core.material_uses import material_of
from autosteer_core.operating_point import Bound, PointOptions, find_operating_point
from autosteer_core.paper_form import PaperOptions, paper_form
from autosteer_core.probe_fitting import ProbeOptions
from autosteer_core.residual_steering import difference_of_means
from autosteer_core.second_look_fitting import LookOptions, fit_second_look
from autosteer_core.values import GateAction, Item, Pooling, Site

Say = Callable[[str], None]
RANDOM_LAYER, PAPER_FORM = "random-layer", "paper-form"


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """`bound` states the guarantee; up to `sites` sites are read; `head_rows` prompts of each label train the head
    and the second look, `tried_rows` held-out ones compare the gate actions. `shift_cap` limits how much one item may
    stand for the traffic. Without `look` there is no second look, without `paper` no baseline in the paper's form.
    A `holdout` is a fifth of the units that no step touches, for later bundles to be compared on."""

    bound: Bound = field(default_factory=Bound)
    hold_out: HoldOut = HoldOut.AUTO
    seed: int = 0
    batch_rows: int = 16
    budget: Budget = field(default_factory=Budget)
    max_new_tokens: int = 24
    sites: int = 4
    head_rows: int = 96
    tried_rows: int = 32
    shift_cap: float = 10.0
    probe: ProbeOptions = field(default_factory=ProbeOptions)
    head: HeadOptions = field(default_factory=HeadOptions)
    look: LookOptions | None = None
    paper: PaperOptions | None = None
    holdout: bool = False


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Labelled items, the hash of the manifest they come from, and unlabelled items like those to be met."""

    items: Sequence[Item]
    sha256: str
    traffic: Sequence[Item] = ()


@dataclass(frozen=True, slots=True)
class Calibration:
    """The bundle, and bundles to compare it with by name: a probe at a random layer, the paper's form.

    `material` is what its probe read of every item, with what the item was used for.
    """

    bundle: Bundle
    controls: Mapping[str, Bundle]
    material: Material


@dataclass(frozen=True, slots=True)
class _Known:
    """What every step needs: the model, its prompts, what was read of them, and which rows serve what."""

    backbone: Backbone
    prompts: Sequence[Prompt]
    data: Labelled
    rows: Split
    options: CalibrationOptions

    @property
    def point_options(self) -> PointOptions:
        return PointOptions(self.options.bound, self.options.probe, self.options.seed)

    def some(self, rows: NDArray[np.int64], harmful: bool, count: int) -> NDArray[np.int64]:
        """At most `count` of these rows with one label, spread evenly over the set."""
        candidates = rows[self.data.harmful_N[rows] == harmful]
        spread = np.linspace(0, len(candidates) - 1, min(count, len(candidates))).astype(int)
        return np.asarray(candidates[spread])

    def of(self, rows: NDArray[np.int64]) -> list[Prompt]:
        return [self.prompts[row] for row in rows]


def calibrate(backbone: Backbone, given: CalibrationSet, options: CalibrationOptions, say: Say) -> Calibration:
    """Fit everything on one part of the items and measure on another; units are never divided.

    Raises:
        UserMistake: unlabelled items, one label only, or too few for the bound.
        BadItem: an item that cannot be shown to the model.
    """
    material = _read(backbone, given, options, say)
    data, rows = material.data, material.rows
    say("choosing where to probe")
    choice = choose_sites(data.take(np.concatenate([rows.train, rows.validation])), options.seed, options.sites)
    say(f"sites {', '.join(map(str, choice.sites))}: fitting probe and threshold")
    shift = _shift(material, choice.sites, given.traffic, say)
    point = find_operating_point(data, rows, choice.sites, material.point_options, shift)
    say("fitting the Refusal Head")
    bundle = Bundle(
        fingerprint=backbone.fingerprint,
        sites=tuple(choice.sites),
        probe=point.probe,
        head=_head(material),
        guarantee=point.guarantee,
        refusal=options.head.wordings.fixed,
        gate_action=GateAction.STEER.value,
        report={
            "calibration_set": {"sha256": given.sha256, "items": len(given.items), **_sizes(rows)},
            "layer_choice": asdict(choice),
            "probe": point.measured,
        },
        slices=point.slices,
        refusals=options.head.wordings.fixed_by_group,
    )
    paper = _paper_form(material, say)
    say("trying the gate actions")
    bundle = _with_second_look(material, _with_best_action(material, bundle, paper), say)
    controls = _random_layer(material, bundle, shift, say) | ({PAPER_FORM: paper} if paper else {})
    origin = Origin(bundle.fingerprint, bundle.sites)
    return Calibration(bundle, controls, material_of(given.items, data, rows, origin, given.sha256))


def _read(backbone: Backbone, given: CalibrationSet, options: CalibrationOptions, say: Say) -> _Known:
    prompts = [backbone.encode(item) for item in given.items]
    layers = list(range(1, len(backbone.blocks) + 1))

    def show(done: int) -> None:
        say(f"reading items at {len(layers)} layers: {done} of {len(prompts)}")

    read_NLPD = read_activations(backbone, prompts, layers, options.budget, show)
    data = labelled(given.items, read_NLPD, options.hold_out)
    if options.holdout:
        # Or one of two equal items could be fitted on, and the other be held out.
        data = equal_together(data, [content_hash(item) for item in given.items])
    return _Known(backbone, prompts, data, split(data, options.seed, options.holdout), options)


def _shift(material: _Known, sites: Sequence[Site], traffic: Sequence[Item], say: Say) -> Importance | None:
    """Weights of the labelled items where the traffic is known, by what the probe will read of both."""
    if not traffic:
        return None
    say(f"reading {len(traffic)} items of the traffic")
    prompts = [material.backbone.encode(item) for item in traffic]
    seen_MD = read_sites(material.backbone, prompts, sites, material.options.budget)
    fitted = np.concatenate([material.rows.train, material.rows.validation])
    return importance(material.data.side_by_side(sites).numpy(), fitted, seen_MD.numpy(), material.options.shift_cap)


def _head(material: _Known) -> Any:
    options = material.options
    harmful, benign = (material.some(material.rows.train, label, options.head_rows) for label in (True, False))
    groups = [str(group) for group in material.data.group_N[harmful]]
    return fit_head(material.backbone, material.of(harmful), material.of(benign), options.seed, options.head, groups)


def _paper_form(material: _Known, say: Say) -> Bundle | None:
    options = material.options
    if options.paper is None:
        return None
    say("fitting the paper's form")
    return paper_form(material.backbone, material.prompts, material.data, material.rows, options.bound, options.paper)


def _random_layer(material: _Known, bundle: Bundle, shift: Importance | None, say: Say) -> dict[str, Bundle]:
    """The control that asks whether the choice of sites matters: the same bundle with a probe at any other layer."""
    layers = range(1, material.data.activations_NLPD.shape[1] + 1)
    others = [layer for layer in layers if layer not in bundle.layers]
    if not others:
        return {}
    say("fitting the control at a random layer")
    site = Site(int(np.random.default_rng(material.options.seed).choice(others)), Pooling.LAST)
    point = find_operating_point(material.data, material.rows, [site], material.point_options, shift)
    report = {"form": f"control: a probe at layer {site}", "probe": point.measured}
    control = replace(
        bundle, sites=(site,), probe=point.probe, guarantee=point.guarantee, slices=point.slices, second_look=None,
        report=report,
    )  # fmt: skip
    return {RANDOM_LAYER: control}


def _with_best_action(material: _Known, bundle: Bundle, paper: Bundle | None) -> Bundle:
    """Measure the gate actions and the baselines on held-out harmful rows; `steer` stays unless clearly beaten."""
    options, decoding = material.options, Decoding(material.options.batch_rows, material.options.max_new_tokens)
    site, train = bundle.sites[0], material.data.take(material.rows.train)
    activation_ND = train.at(Site(site.layer, Pooling.LAST))
    shift = difference_of_means(site.layer, activation_ND[train.harmful_N], activation_ND[~train.harmful_N])
    tuning = material.of(material.some(material.rows.train, True, options.batch_rows))
    shift = best_strength(material.backbone, shift, tuning, decoding)
    # Not the threshold rows: those must have decided nothing else.
    tried = material.of(material.some(material.rows.validation, True, options.tried_rows))
    found = compare_actions(material.backbone, bundle, tried, Baselines(shift, paper), decoding)
    described = {name: outcome.described() for name, outcome in found.items()}
    return replace(bundle, gate_action=clearly_best(found).value, report=bundle.report | {"gate_actions": described})


def _with_second_look(material: _Known, bundle: Bundle, say: Say) -> Bundle:
    options = material.options
    if options.look is None:
        return bundle
    say("fitting the second look on half-finished answers")
    harmful, benign = (
        material.of(material.some(material.rows.train, label, options.head_rows)) for label in (True, False)
    )
    look, measured = fit_second_look(material.backbone, harmful, benign, bundle.layers, options.seed, options.look)
    return replace(bundle, second_look=look, report=bundle.report | {"second_look": asdict(measured)})


def _sizes(rows: Split) -> dict[str, int]:
    held = {"holdout": len(rows.holdout)} if len(rows.holdout) else {}
    return {"train": len(rows.train), "validation": len(rows.validation), "threshold": len(rows.threshold)} | held
