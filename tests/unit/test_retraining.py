"""From a bundle and labelled activations to the next bundle, on activations whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autosteer_core.bundle import Bundle, to_files
from autosteer_core.bundle_reading import from_files
from autosteer_core.errors import UserMistake
from autosteer_core.golden_rows import check_golden
from autosteer_core.guarantee import Bounds, Guarantee, upper_limit
from autosteer_core.material import Material, Origin, Use
from autosteer_core.material_uses import apart_from, assigned
from autosteer_core.operating_point import Bound
from autosteer_core.probe import Probe, gate_is_open
from autosteer_core.probe_fitting import ProbeOptions
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.retraining import RetrainOptions, retrain
from autosteer_core.values import Fingerprint, Pooling, Site
from tests.tiny_material import ORIGIN, tiny_material

OPTIONS = RetrainOptions(probe=ProbeOptions(hidden=8, learning_rate=1e-2, epochs=30), bound=Bound(0.2))


def parent_of(origin: Origin = ORIGIN, width: int = 8) -> Bundle:
    """A bundle whose probe knows nothing."""
    wide = width * len(origin.sites)
    told = (torch.zeros(wide), torch.ones(wide), torch.ones(4, wide), torch.zeros(4), torch.ones(4))
    probe = Probe(*told, torch.tensor(0.0), torch.tensor(1.0))
    head = RefusalHead(torch.ones(width, 2), torch.ones(width, 2), 0.1)
    guarantee = Guarantee(0.5, 0.1, 0.05, 60, 0, 0.05, 60, 3, 0.13)
    report = {"layer_choice": {"layers": [2]}, "probe": {}, "golden": [0.5], "gate_actions": {}}
    return Bundle(origin.fingerprint, origin.sites, probe, head, guarantee, "No.", "steer", report)


def open_rows(material: Material) -> Material:
    """The same rows before anybody decided what they are for."""
    return replace(material, use_N=np.full(len(material), Use.NONE.value))


def wrong_at_most(bundle: Bundle, held: Material) -> float:
    """The error that the bundle bounds, by its exact limit, on half of these rows."""
    bounds, threshold = bundle.guarantee.bounds, bundle.guarantee.threshold
    edge = 1e-6 if bounds is Bounds.FALSE_REFUSALS else -1e-6  # of risks that were read in another batch
    gate_N = gate_is_open(bundle.probe.risk(held.activation_ND), threshold + edge).numpy()
    wrong_N = held.harmful_N & ~gate_N if bounds is Bounds.MISSES else ~held.harmful_N & gate_N
    return upper_limit(int(wrong_N.sum()), len(held) // 2, 0.05)


def test_the_next_bundle_tells_what_the_parent_could_not_and_keeps_what_concerns_answers() -> None:
    parent, material = parent_of(), tiny_material(1000)

    child = retrain(parent, material, OPTIONS)

    assert child.report["probe"]["mlp"]["auroc"] > 0.95
    assert child.guarantee.bound <= 0.2
    assert child.head is parent.head
    assert (child.sites, child.refusal, child.gate_action) == (parent.sites, parent.refusal, parent.gate_action)
    check_golden(from_files(to_files(child)))


def test_the_card_names_parent_snapshot_seed_and_sizes_and_nothing_of_the_old_probe() -> None:
    parent, material = parent_of(), tiny_material(1000)

    report = retrain(parent, material, replace(OPTIONS, seed=7, material_sha256="a" * 64)).report

    assert report["retraining"] == {
        "parent": parent.bundle_id,
        "material_sha256": "a" * 64,
        "seed": 7,
        "rows": {"train": 700, "validation": 100, "threshold": 200},
    }
    assert report["golden"] != parent.report["golden"]
    assert report["layer_choice"] == parent.report["layer_choice"]


def test_the_same_snapshot_and_seed_give_the_same_bundle_and_another_seed_another() -> None:
    parent, material = parent_of(), tiny_material(600)

    ids = [retrain(parent, material, replace(OPTIONS, seed=seed)).bundle_id for seed in (0, 0, 1)]

    assert ids[0] == ids[1] != ids[2]


def test_the_promise_is_the_parents_unless_another_is_asked_for() -> None:
    parent, material = parent_of(), tiny_material(1000)
    promised = replace(parent.guarantee, alpha=0.15, bounds=Bounds.FALSE_REFUSALS)

    kept = retrain(replace(parent, guarantee=promised), material, replace(OPTIONS, bound=None)).guarantee

    assert (kept.alpha, kept.bounds) == (0.15, Bounds.FALSE_REFUSALS)
    assert kept.false_refusal_bound <= 0.15


@pytest.mark.parametrize("bounds", Bounds)
def test_easy_new_rows_buy_no_errors_on_the_rows_that_the_parent_promised_on(bounds: Bounds) -> None:
    hard, easy = tiny_material(1000, gap=1.5), open_rows(tiny_material(3000, gap=9.0, seed=1))
    easy.activation_ND[torch.from_numpy(~easy.harmful_N), 0] -= 6
    both = Material.joined([hard, easy])
    options = replace(OPTIONS, bound=Bound(0.3, 0.05, bounds))

    child = retrain(parent_of(), both, options)

    held = hard.take(hard.rows(Use.THRESHOLD))
    assert wrong_at_most(child, held) <= 0.3
    together = retrain(parent_of(), open_rows(both), options)
    assert (child.guarantee.threshold < together.guarantee.threshold) == (bounds is Bounds.MISSES)


def test_rows_of_the_holdout_change_nothing() -> None:
    parent, material = parent_of(), tiny_material(1000)
    held = replace(material.take(np.arange(200)), use_N=np.full(200, Use.HOLDOUT.value))
    upside_down = replace(held, harmful_N=~held.harmful_N)
    rest = tiny_material(1000, seed=1)

    ids = {
        retrain(parent, Material.joined([rest, each]), OPTIONS).bundle_id
        for each in (held, upside_down, held.take(np.arange(0)))
    }

    assert len(ids) == 1


@pytest.mark.parametrize(
    "origin",
    [replace(ORIGIN, fingerprint=Fingerprint("0e" * 32)), replace(ORIGIN, sites=(Site(3, Pooling.LAST),))],
)
def test_activations_of_another_model_or_other_sites_are_refused(origin: Origin) -> None:
    with pytest.raises(UserMistake) as refused:
        retrain(parent_of(), replace(tiny_material(100), origin=origin), OPTIONS)
    assert refused.value.code == "E_MATERIAL_ORIGIN"


def test_one_label_only_is_refused_with_the_numbers() -> None:
    material = tiny_material(400)

    with pytest.raises(UserMistake, match="the rows for train are 0 harmful and 140 benign"):
        retrain(parent_of(), material.take(~material.harmful_N), OPTIONS)


def test_too_few_rows_for_the_bound_are_refused_with_the_number_needed() -> None:
    with pytest.raises(UserMistake, match="needs at least 299"):
        retrain(parent_of(), tiny_material(400), replace(OPTIONS, bound=Bound(0.01)))


def test_rows_get_their_uses_in_the_usual_shares_and_each_kind_by_itself() -> None:
    material = assigned(open_rows(tiny_material(4000)), seed=0)

    for kind in (material.group_N == "weapons", material.group_N == "fraud"):
        shares = [float((material.use_N[kind] == use.value).mean()) for use in Use]
        assert shares == pytest.approx([0.7, 0.1, 0.2, 0.0, 0.0], abs=0.01)


def test_units_are_never_divided() -> None:
    material = assigned(open_rows(tiny_material(400)), seed=3)

    assert all(len(set(material.use_N[material.unit_N == unit])) == 1 for unit in np.unique(material.unit_N))


def test_a_use_that_was_given_once_stays_and_twins_that_come_later_follow_it() -> None:
    old = tiny_material(200)
    twins = open_rows(replace(tiny_material(200, seed=5), unit_N=old.unit_N))

    both = assigned(Material.joined([old, twins]), seed=9)

    assert both.use_N[:200].tolist() == old.use_N.tolist() == both.use_N[200:].tolist()


def test_what_the_holdout_has_never_comes_into_a_training_set_under_any_name() -> None:
    holdout = tiny_material(40)
    renamed = replace(
        holdout, unit_N=np.array([f"new-{row}" for row in range(40)]), item_id_N=holdout.item_id_N[::-1]
    )
    twins = replace(tiny_material(40, seed=2), unit_N=holdout.unit_N)
    others = tiny_material(40, seed=3)

    left = apart_from(Material.joined([renamed, twins, others]), holdout)

    assert left.content_N.tolist() == others.content_N.tolist()


def test_mini_batches_learn_no_less_than_whole_batches_and_repeat_to_the_bit() -> None:
    parent, material = parent_of(), tiny_material(4000, gap=2.0)
    large = replace(OPTIONS, probe=replace(OPTIONS.probe, large=1000, batch=128))

    in_batches, again, whole = (retrain(parent, material, options) for options in (large, large, OPTIONS))

    assert in_batches.bundle_id == again.bundle_id != whole.bundle_id
    found, expected = (each.report["probe"]["mlp"]["auroc"] for each in (in_batches, whole))
    assert found > expected - 0.01 > 0.9
