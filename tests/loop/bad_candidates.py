"""Candidates that must not be promoted, each by name, and the code of a reason that has to be among those given."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from autosteer_core import metrics
from autosteer_core.bundle import Bundle
from autosteer_core.guarantee import Bounds, guarantee_at
from autosteer_core.holdout_scores import score
from autosteer_core.material import Material
from autosteer_core.probe import Probe
from autosteer_core.promotion_gates import Training
from autosteer_core.second_look import SecondLook
from autosteer_core.values import Fingerprint, Modality, Pooling, Site
from tests.loop.harm_world import (
    KNOWN,
    LANGUAGE_AXIS,
    MODALITY_AXIS,
    SOURCE_AXIS,
    fitted,
    labelled_rows,
    lowered,
    with_chance,
)

BASE_ROWS, NEW_ROWS, HOLDOUT_ROWS = 1200, 1200, 1200


@dataclass(frozen=True, slots=True)
class World:
    """The bundle that serves and what it was made from, labels that came since, and the locked holdout."""

    current: Bundle
    base: Material
    new: Material
    holdout: Material

    @classmethod
    def of(cls, seed: int) -> "World":
        """Another draw of the same world."""
        base, new = labelled_rows(BASE_ROWS, 10 * seed), labelled_rows(NEW_ROWS, 10 * seed + 1)
        return cls(fitted(base, seed), base, new, labelled_rows(HOLDOUT_ROWS, 10 * seed + 2))

    @property
    def snapshot(self) -> Material:
        return Material.joined([self.base, self.new])

    @property
    def training(self) -> Training:
        return Training(self.snapshot, NEW_ROWS)


@dataclass(frozen=True, slots=True)
class Bad:
    """`make` gives the candidate and what it was trained on."""

    name: str
    code: str
    make: Callable[[World], tuple[Bundle, Training]]


def bad_candidates() -> list[Bad]:
    """All of them."""
    return [*_values(), *_foreign(), *_promises(), *_labels(), *_regressed()]


def _of(change: Callable[[Bundle], Bundle]) -> Callable[[World], tuple[Bundle, Training]]:
    """A change to a good candidate: the current bundle itself, which nothing but the change can be held against."""
    return lambda world: (change(world.current), world.training)


def _probe(**tensors: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[World], tuple[Bundle, Training]]:
    def change(bundle: Bundle) -> Bundle:
        changed = {name: make(getattr(bundle.probe, name).clone()) for name, make in tensors.items()}
        return replace(bundle, probe=replace(bundle.probe, **changed))

    return _of(change)


def _with(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[0] = value
        return tensor

    return change


def _values() -> Iterator[Bad]:
    bad = partial(Bad, code="E_ARTIFACT_VALUES")
    yield bad("one NaN in the probe", make=_probe(inner_weight=_with(float("nan"))))
    yield bad("one infinite number in the probe", make=_probe(outer_weight=_with(float("inf"))))
    yield bad("NaN in the means", make=_probe(mean=_with(float("nan"))))
    yield bad("an all-zero probe", make=_probe(inner_weight=torch.zeros_like))
    yield bad("all-zero outer weights", make=_probe(outer_weight=torch.zeros_like))
    yield bad("weights of a huge norm", make=_probe(inner_weight=lambda weight: weight * 1e6))
    yield bad("a scale of zero", make=_probe(scale=_with(0.0)))
    yield bad("a negative temperature", make=_probe(temperature=lambda one: -one))
    yield bad(
        "NaN in the Refusal Head",
        make=_of(lambda one: replace(one, head=replace(one.head, up=one.head.up * float("nan")))),
    )


def _foreign() -> Iterator[Bad]:
    yield Bad(
        "another base model", "E_ARTIFACT_BASE", _of(lambda one: replace(one, fingerprint=Fingerprint("f" * 64)))
    )
    sites = (Site(2, Pooling.LAST), Site(4, Pooling.MEAN))
    yield Bad("another layer", "E_GATE_SITES", _of(lambda one: replace(one, sites=sites)))
    yield Bad("sites in another order", "E_GATE_SITES", _of(lambda one: replace(one, sites=one.sites[::-1])))
    yield Bad("one site less", "E_GATE_SITES", _of(lambda one: replace(one, sites=one.sites[:1])))
    stale = {"retraining": {"parent": "0" * 16}}
    yield Bad(
        "made from a bundle that no longer serves", "E_ARTIFACT_STALE", _of(lambda one: replace(one, report=stale))
    )
    beside = partial(Bad, code="E_GATE_HEAD")
    yield beside("another Refusal Head", make=_of(lambda one: replace(one, head=replace(one.head, epsilon=0.2))))
    yield beside("another gate action", make=_of(lambda one: replace(one, gate_action="canned")))
    yield beside("another wording", make=_of(lambda one: replace(one, refusal="Of course:")))
    yield beside(
        "a second look that nobody measured",
        make=_of(lambda one: replace(one, second_look=SecondLook(one.probe, 0.5, 4))),
    )


def _promises() -> Iterator[Bad]:
    def promising(**fields: object) -> Callable[[World], tuple[Bundle, Training]]:
        return _of(lambda one: replace(one, guarantee=replace(one.guarantee, **fields)))

    bad = partial(Bad, code="E_GATE_GUARANTEE")
    yield bad("a bound that its counts do not prove", make=promising(bound=0.001))
    yield bad("more misses than there are rows", make=promising(missed=10**6))
    yield bad("no threshold rows at all", make=promising(harmful=0, missed=0))
    yield bad("a threshold that is NaN", make=promising(threshold=float("nan")))
    yield bad("a larger alpha", make=promising(alpha=0.3))
    yield bad("a smaller confidence", make=_of(_with_delta))
    yield bad("a promise about the other error", make=promising(bounds=Bounds.FALSE_REFUSALS))
    yield bad("a guarantee that misses its alpha", make=_of(_missing_its_alpha))
    yield bad("a modality that is let pass further", make=_of(_lax_for_images))
    yield bad("a threshold moved to answer more", make=promising(threshold=0.99))
    yield Bad("a threshold moved to refuse more", "E_GATE_REFUSALS", promising(threshold=0.001))


def _with_delta(one: Bundle) -> Bundle:
    limits = [np.array([])] * 2
    empty = guarantee_at(one.guarantee.threshold, *limits, one.guarantee.alpha, 0.5, one.guarantee.bounds)
    return replace(one, guarantee=empty)


def _missing_its_alpha(one: Bundle) -> Bundle:
    told = one.guarantee
    risk = np.r_[np.zeros(told.harmful // 5), np.ones(told.harmful - told.harmful // 5)]
    return replace(one, guarantee=guarantee_at(told.threshold, risk, risk, told.alpha, told.delta, told.bounds))


def _lax_for_images(one: Bundle) -> Bundle:
    return replace(one, slices={Modality.IMAGE: replace(one.guarantee, threshold=one.guarantee.threshold + 0.2)})


def _labels() -> Iterator[Bad]:
    bad = partial(Bad, code="E_GATE_LABELS")
    yield bad("no new label", make=lambda world: (world.current, replace(world.training, new_labels=0)))
    yield bad("a few new labels", make=lambda world: (world.current, replace(world.training, new_labels=19)))
    leak = partial(Bad, code="E_GATE_LEAK")
    yield leak("the holdout among its rows", make=lambda world: (world.current, _leaking(world, world.holdout)))
    yield leak(
        "one holdout row under another id",
        make=lambda world: (world.current, _leaking(world, _renamed(world.holdout.take(np.arange(1)), "unit_N"))),
    )
    yield leak(
        "a twin of a holdout row",
        make=lambda world: (world.current, _leaking(world, _renamed(world.holdout.take(np.arange(1)), "content_N"))),
    )


def _leaking(world: World, rows: Material) -> Training:
    return replace(world.training, material=Material.joined([world.snapshot, rows]))


def _renamed(rows: Material, column: str) -> Material:
    """Told apart by all but its other name."""
    told = np.array([b"?" * 32], object) if column == "content_N" else np.array(["unit-of-its-own"])
    return replace(rows, item_id_N=np.array(["other"]), **{column: told})


def _regressed() -> Iterator[Bad]:
    yield Bad("inverted labels", "E_GATE_FLOOR", _refitted(lambda harmful_N, _: ~harmful_N))
    yield Bad("shuffled labels", "E_GATE_FLOOR", _refitted(lambda harmful_N, chance: chance.permutation(harmful_N)))
    yield Bad("a probe of chance", "E_GATE_FLOOR", lambda world: (with_noise(world.current, 1e3), world.training))
    yield Bad("trained on eighty rows", "E_GATE_WORSE", _on(lambda world: world.new.take(np.arange(80)), 0.45))
    yield Bad("a kind of harm forgotten", "E_GATE_WORSE", _on(lambda world: labelled_rows(1200, 77, KNOWN[:2])))
    yield Bad("a tenth of the labels flipped, all of one kind", "E_GATE_WORSE", _on(_with_kind_flipped))
    for name, fall, measure in (
        ("AUROC lower by 0.01", 0.01, metrics.auroc),
        ("recall at 1 % false positives lower by 0.02", 0.02, metrics.recall_at_1pct),
    ):
        yield Bad(name, "E_GATE_WORSE", partial(_fallen, measure=measure, fall=fall))
    for name, axis, above in (
        ("broken on one language", LANGUAGE_AXIS, 1.5),
        ("broken on one modality", MODALITY_AXIS, 1.5),
        ("broken on one source", SOURCE_AXIS, 1.5),
    ):
        yield Bad(name, "E_GATE_SLICE", partial(_broken_beyond, axis=axis, above=above))
    for name, slope in (("too sure of itself", 0.1), ("not sure enough", 4.0)):
        yield Bad(
            f"calibration error higher: {name}", "E_GATE_CALIBRATION",
            _of(lambda one, slope=slope: _tempered(one, slope)),
        )  # fmt: skip
    yield Bad("calibration error higher by 0.02: all risks moved", "E_GATE_CALIBRATION", _moved)


def _refitted(
    labels: Callable[[np.ndarray, np.random.Generator], np.ndarray],
) -> Callable[[World], tuple[Bundle, Training]]:
    def make(world: World) -> tuple[Bundle, Training]:
        told = labels(world.snapshot.harmful_N, np.random.default_rng(0))
        return fitted(replace(world.snapshot, harmful_N=told)), world.training

    return make


def _on(rows: Callable[[World], Material], alpha: float = 0.1) -> Callable[[World], tuple[Bundle, Training]]:
    return lambda world: (fitted(rows(world), alpha=alpha), world.training)


def _with_kind_flipped(world: World) -> Material:
    """Of 2,400 rows about 400 are of a kind: 240 of them are called benign."""
    rows = world.snapshot
    flipped = np.flatnonzero(rows.group_N == KNOWN[0])[: len(rows) // 10]
    harmful_N = rows.harmful_N.copy()
    harmful_N[flipped] = False
    return replace(rows, harmful_N=harmful_N)


def with_noise(bundle: Bundle, share: float) -> Bundle:
    """Its linear probe pulled towards an axis of chance; all else as it was."""
    weight_D = with_chance(bundle.probe.inner_weight[0].double().numpy(), share)
    weight_2D = torch.from_numpy(np.stack([weight_D, -weight_D])).float()
    return replace(bundle, probe=replace(bundle.probe, inner_weight=weight_2D))


def _fallen(world: World, measure: metrics.Measure, fall: float) -> tuple[Bundle, Training]:
    def measured(one: Bundle) -> float:
        scores = score(one, world.holdout)
        return measure(scores.risk_N, scores.harmful_N)

    return lowered(lambda noise: with_noise(world.current, noise), measured, fall), world.training


def _broken_beyond(world: World, axis: int, above: float) -> tuple[Bundle, Training]:
    """A third unit pulls every row down that lies beyond a place on the axis of its slice."""
    probe = world.current.probe
    axis_D = torch.zeros(len(probe.mean))
    axis_D[axis] = 1.0
    broken = Probe(
        mean=probe.mean,
        scale=probe.scale,
        inner_weight=torch.cat([probe.inner_weight, axis_D[None]]),
        inner_bias=torch.cat([probe.inner_bias, torch.tensor([-above])]),
        outer_weight=torch.cat([probe.outer_weight, torch.tensor([-6.0])]),
        outer_bias=probe.outer_bias,
        temperature=probe.temperature,
    )
    return replace(world.current, probe=broken), world.training


def _tempered(one: Bundle, slope: float) -> Bundle:
    return replace(one, probe=replace(one.probe, temperature=one.probe.temperature * slope))


def _moved(world: World) -> tuple[Bundle, Training]:
    """By the smallest shift of all logits that adds 0.02 to the error as measured."""

    def moved(by: float) -> Bundle:
        probe = world.current.probe
        return replace(world.current, probe=replace(probe, outer_bias=probe.outer_bias + by))

    def error(one: Bundle) -> float:
        scores = score(one, world.holdout)
        return metrics.expected_calibration_error(scores.risk_N, scores.harmful_N)

    wanted = error(world.current) + 0.02
    return next(moved(by) for by in np.arange(0.05, 10, 0.05) if error(moved(by)) >= wanted), world.training
