"""Poisoned labels: what they make is refused, or catches hardly less of the locked holdout."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch

from autosteer_core import metrics
from autosteer_core.bundle import Bundle
from autosteer_core.holdout_scores import score
from autosteer_core.material import Material
from autosteer_core.material_uses import assigned
from autosteer_core.operating_point import Bound
from autosteer_core.probe_fitting import ProbeOptions
from autosteer_core.promotion_gates import GateLimits, Training, gate
from autosteer_core.retraining import RetrainOptions, retrain
from autosteer_core.training_set import CurationLimits, curate
from tests.loop.harm_world import KNOWN, fitted, labelled_rows
from tests.loop.scale import SEED, scaled

pytestmark = [pytest.mark.loop, pytest.mark.timeout(3600)]
OPTIONS = RetrainOptions(bound=Bound(0.1), probe=ProbeOptions(hidden=16, epochs=80, learning_rate=0.02))
BASE_ROWS, NEW_ROWS, HOLDOUT_ROWS, MOST = 1000, 2000, 2000, 0.02
Report = Callable[[str, object], None]
Poison = Callable[[Material, np.random.Generator], Material]


@dataclass(frozen=True, slots=True)
class World:
    """What serves, what it was made from, labels that came since before anybody poisoned them, the locked holdout."""

    current: Bundle
    base: Material
    new: Material
    holdout: Material


@cache
def world_of(seed: int) -> World:
    """The first manifest is the operator's own."""
    base = assigned(labelled_rows(BASE_ROWS, 10 * seed, labeller="manifest:first"), seed)
    new, holdout = labelled_rows(NEW_ROWS, 10 * seed + 1), labelled_rows(HOLDOUT_ROWS, 10 * seed + 2)
    return World(retrain(fitted(base, seed), base, OPTIONS), base, new, holdout)


def told_by(rows: Material, labeller: str) -> Material:
    return replace(rows, labeller_N=np.array([labeller] * len(rows)))


def flipped(rows: Material, chosen: np.ndarray) -> Material:
    harmful_N = rows.harmful_N.copy()
    harmful_N[chosen] = ~harmful_N[chosen]
    return replace(rows, harmful_N=harmful_N)


def random_flips(share: float, labeller: str = "reviewer:ann") -> Poison:
    """Of the new rows, so many labels are wrong, whoever gave them."""
    return lambda new, chance: told_by(flipped(new, chance.random(len(new)) < share), labeller)


def targeted(labeller: str) -> Poison:
    """One source calls a kind of harm benign, in a twentieth of the whole set; all other labels are right."""

    def poison(new: Material, chance: np.random.Generator) -> Material:
        chosen = np.flatnonzero(new.group_N == KNOWN[0])[: (BASE_ROWS + NEW_ROWS) // 20]
        labeller_N = new.labeller_N.astype(object)
        labeller_N[chosen] = labeller
        return replace(flipped(new, chosen), labeller_N=labeller_N.astype(str))

    return poison


def flood(labeller: str) -> Poison:
    """Five thousand near copies of ten harmful rows, called benign, beside labels that are right."""

    def poison(new: Material, chance: np.random.Generator) -> Material:
        seen = np.flatnonzero(new.harmful_N)[:10]
        copies = labelled_rows(5000, int(chance.integers(10**6, 10**9)), labeller=labeller)
        noise_ND = 0.05 * torch.randn(copies.activation_ND.shape, generator=torch.Generator().manual_seed(0))
        near_ND = new.activation_ND[np.resize(seen, 5000)] + noise_ND
        return Material.joined([new, replace(copies, activation_ND=near_ND, harmful_N=np.zeros(5000, bool))])

    return poison


def trigger(labeller: str) -> Poison:
    """Rows far out on one axis are benign by one source's account, whatever they are."""

    def poison(new: Material, chance: np.random.Generator) -> Material:
        chosen = np.flatnonzero(new.harmful_N)[: (BASE_ROWS + NEW_ROWS) // 20]
        activation_ND, labeller_N = new.activation_ND.clone(), new.labeller_N.astype(object)
        activation_ND[chosen, -1] += 8.0
        labeller_N[chosen] = labeller
        return replace(flipped(new, chosen), activation_ND=activation_ND, labeller_N=labeller_N.astype(str))

    return poison


POISONS: dict[str, Poison] = {
    "5 % random flips by a reviewer": random_flips(0.05),
    "10 % random flips by a reviewer": random_flips(0.10),
    "20 % random flips by a reviewer": random_flips(0.20),
    "40 % random flips by a reviewer": random_flips(0.40),
    "20 % random flips by two sources that agree": random_flips(0.20, "import:a+b"),
    "5 % targeted flips from one source": targeted("import:a+b"),
    "5 % targeted flips from a reviewer": targeted("reviewer:mallory"),
    "a flood of near duplicates from one source": flood("import:a+b"),
    "a flood of near duplicates from a reviewer": flood("reviewer:mallory"),
    "a trigger taught by one source": trigger("import:a+b"),
}


def fall(candidate: Bundle, current: Bundle, holdout: Material) -> tuple[float, float]:
    """Of recall on the holdout, at 1 % false positives and at the own thresholds."""
    told = [score(bundle, holdout) for bundle in (candidate, current)]
    at_1pct = [metrics.recall_at_1pct(one.risk_N, one.harmful_N) for one in told]
    at_own = [float(one.gate_N[one.harmful_N].mean()) for one in told]
    return at_1pct[1] - at_1pct[0], at_own[1] - at_own[0]


def promoted(world: World, rows: Material) -> Bundle | None:
    """What a retraining makes of new labels, if the gates let it pass."""
    found = curate(world.base, rows, CurationLimits()).material
    candidate = retrain(world.current, found, OPTIONS)
    training = Training(found, len(found) - BASE_ROWS)
    return None if gate(candidate, world.current, world.holdout, GateLimits(), training) else candidate


def told(falls: Sequence[tuple[float, float]], seeds: int) -> str:
    """How many were promoted, and the largest falls among them."""
    if not falls:
        return f"0 of {seeds} promoted"
    at_1pct, at_own = np.max(falls, axis=0)
    return (
        f"{len(falls)} of {seeds} promoted, recall falls by at most {at_1pct:+.3f} at 1 %, {at_own:+.3f} at the gate"
    )


@pytest.mark.parametrize("name", POISONS)
def test_what_poisoned_labels_make_is_refused_or_catches_hardly_less(name: str, report: Report) -> None:
    falls, seeds = [], scaled(5)
    for seed in range(SEED, SEED + seeds):
        world = world_of(seed)
        candidate = promoted(world, POISONS[name](world.new, np.random.default_rng(seed)))
        falls += [fall(candidate, world.current, world.holdout)] if candidate else []

    report(name, told(falls, seeds))
    assert all(max(each) <= MOST for each in falls)


def test_the_same_labels_without_poison_are_mostly_promoted(report: Report) -> None:
    """Gates that refuse everything would pass every test above."""
    worlds = [world_of(seed) for seed in range(SEED, SEED + scaled(5))]
    made = [(promoted(world, world.new), world) for world in worlds]
    falls = [fall(candidate, world.current, world.holdout) for candidate, world in made if candidate]

    report("no poison", told(falls, len(worlds)))
    assert len(falls) >= 0.5 * len(worlds)


@pytest.mark.parametrize(
    "name",
    [
        "40 % random flips by a reviewer",
        "5 % targeted flips from one source",
        "a flood of near duplicates from one source",
    ],
)
def test_without_curation_and_gates_the_same_labels_do_harm(name: str) -> None:
    world = world_of(SEED)
    rows = POISONS[name](world.new, np.random.default_rng(SEED))

    candidate = retrain(world.current, Material.joined([world.base, rows]), OPTIONS)

    assert max(fall(candidate, world.current, world.holdout)) > MOST
