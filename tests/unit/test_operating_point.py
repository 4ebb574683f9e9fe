"""Probe and thresholds on synthetic activations whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from autosteer_core.guarantee import Bounds
from autosteer_core.importance import Importance
from autosteer_core.labelled import Labelled, split
from autosteer_core.operating_point import Bound, PointOptions, find_operating_point
from autosteer_core.probe_fitting import Examples, ProbeOptions, fit_probe, fit_site_probes
from autosteer_core.values import Modality, Pooling, Site

READING = [Site(2, Pooling.MEAN)]
OPTIONS = PointOptions(probe=ProbeOptions(epochs=150))


def world(rows: int = 1200, text_gap: float = 2.0, image_gap: float = 2.0, harmful_share: float = 0.5) -> Labelled:
    """Harm is a shift along one axis of layer 2's mean pooling; every other reading is noise."""
    generator = np.random.default_rng(0)
    harmful = generator.random(rows) < harmful_share
    modality = np.where(np.arange(rows) % 2 == 0, "text", "image")
    activations = generator.standard_normal((rows, 2, 2, 8)).astype(np.float32)
    gap = np.where(modality == "text", text_gap, image_gap)
    activations[:, 1, Pooling.MEAN.place, 0] += harmful * gap
    names = np.array([str(row) for row in range(rows)])
    return Labelled(torch.from_numpy(activations), harmful, modality, names, names, modality, names)


def test_the_bounded_error_keeps_its_limit_and_both_limits_are_stated() -> None:
    data = world()
    for bounds in Bounds:
        found = find_operating_point(data, split(data, 0), READING, replace(OPTIONS, bound=Bound(0.1, 0.05, bounds)))

        limit = {
            Bounds.MISSES: found.guarantee.bound,
            Bounds.FALSE_REFUSALS: found.guarantee.false_refusal_bound,
        }
        assert 0 < limit[bounds] <= 0.1
        assert all(0 < one < 1 for one in limit.values())


def test_a_harder_modality_with_rows_enough_gets_a_proven_threshold_of_its_own() -> None:
    data = world(rows=3000, text_gap=1.5, image_gap=5.0)

    found = find_operating_point(data, split(data, 0), READING, OPTIONS)

    assert found.slices[Modality.TEXT].threshold < found.guarantee.threshold
    assert found.slices[Modality.TEXT].bound <= 0.1


@pytest.mark.parametrize("bounds", Bounds)
def test_no_modality_is_gated_with_less_caution_than_the_bound_on_the_mix_asks_for(bounds: Bounds) -> None:
    data = world(rows=3000, text_gap=1.5, image_gap=5.0)
    options = replace(OPTIONS, bound=Bound(0.1, 0.05, bounds))

    found = find_operating_point(data, split(data, 0), READING, options)

    sign = 1 if bounds is Bounds.MISSES else -1
    assert all(sign * own.threshold < sign * found.guarantee.threshold for own in found.slices.values())


def test_false_refusals_are_counted_as_all_thresholds_together_make_them() -> None:
    data = world(rows=3000, text_gap=1.5, image_gap=5.0)
    rows = split(data, 0)

    found = find_operating_point(data, rows, READING, OPTIONS)

    held_out = data.take(rows.threshold)
    text_N = held_out.modality_N == "text"
    threshold_N = np.where(text_N, found.slices[Modality.TEXT].threshold, found.guarantee.threshold)
    risk_N = found.probe.risk(held_out.side_by_side(READING)).double().numpy()
    assert found.guarantee.false_refusals == int(((risk_N >= threshold_N) & ~held_out.harmful_N).sum())


def test_a_modality_with_few_rows_shares_the_common_threshold() -> None:
    data = world(rows=400, image_gap=2.5)

    assert Modality.IMAGE not in find_operating_point(data, split(data, 0), READING, OPTIONS).slices


def test_a_harder_modality_with_few_rows_may_not_hide_its_misses_behind_an_easier_one() -> None:
    data = with_fewer_texts(world(rows=2000, text_gap=1.0, image_gap=5.0), 0.08)
    rows = split(data, 0)

    found = find_operating_point(data, rows, READING, OPTIONS)

    own = found.slices[Modality.TEXT]
    texts = data.harmful_N[rows.threshold] & (data.modality_N[rows.threshold] == "text")
    risk = found.probe.risk(data.side_by_side(READING)[rows.threshold]).double().numpy()
    assert (risk[texts] < found.guarantee.threshold).mean() > 0.1
    assert own.missed / own.harmful <= 0.1 < own.bound
    assert own.threshold < found.guarantee.threshold


def test_a_bound_on_false_refusals_never_lowers_a_threshold_for_a_modality_with_few_rows() -> None:
    data = with_fewer_texts(world(rows=2000, text_gap=1.0, image_gap=5.0), 0.08)
    options = replace(OPTIONS, bound=Bound(0.1, 0.05, Bounds.FALSE_REFUSALS))

    assert Modality.TEXT not in find_operating_point(data, split(data, 0), READING, options).slices


def with_fewer_texts(data: Labelled, share: float) -> Labelled:
    """All images, and a share of the texts."""
    kept = (data.modality_N == "image") | (np.random.default_rng(1).random(len(data.harmful_N)) < share)
    return data.take(np.flatnonzero(kept))


def test_thresholds_under_shift_come_from_accepted_rows_only() -> None:
    data = world(rows=3000)
    shift = Importance(np.where(data.modality_N == "text", 2.0, 1e-9), cap=10.0)

    found = find_operating_point(data, split(data, 0), READING, OPTIONS, shift)

    assert list(found.measured["by_group"]) == ["text"]
    assert found.measured["importance"]["effective_items"] == pytest.approx(1500, rel=0.01)


def clean_and_noisy(noise: float, rows: int = 4000) -> tuple[Examples, Examples]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % 2
    features = torch.randn(rows, 4, generator=generator) + 1.5 * labels[:, None]
    flipped = torch.where(torch.rand(rows, generator=generator) < noise, 1 - labels, labels)
    return Examples.of(features, labels), Examples.of(features, flipped)


def halves(rows: Examples) -> tuple[Examples, Examples]:
    def part(chosen: slice) -> Examples:
        return Examples(rows.activation_ND[chosen], rows.harmful_N[chosen], rows.weight_N[chosen])

    return part(slice(0, 2000)), part(slice(2000, None))


def test_known_label_noise_does_not_blur_the_risk() -> None:
    clean, noisy = clean_and_noisy(0.2)
    train, validation = halves(noisy)

    def overlap(options: ProbeOptions) -> float:
        risk = fit_probe(train, validation, 0, options).risk(clean.activation_ND)
        return float((risk - clean.harmful_N).abs().mean())

    blurred, corrected = overlap(ProbeOptions(epochs=200)), overlap(ProbeOptions(epochs=200, label_noise=0.2))
    assert corrected < 0.6 * blurred


def test_the_risk_of_a_rare_harm_is_its_share_although_training_is_balanced() -> None:
    data = world(rows=4000, harmful_share=0.05)
    rows = split(data, 0)

    found = find_operating_point(data, rows, READING, OPTIONS)

    risk = found.probe.risk(data.side_by_side(READING)[rows.threshold])
    assert float(risk.mean()) == pytest.approx(0.05, abs=0.02)
    assert roc_auc_score(data.harmful_N[rows.threshold], risk) > 0.85


def test_a_linear_probe_has_the_form_of_an_mlp_and_is_linear() -> None:
    clean, _ = clean_and_noisy(0.0)
    probe = fit_probe(*halves(clean), 0, ProbeOptions(hidden=0, epochs=50))
    a, b = clean.activation_ND[:50], clean.activation_ND[50:100]

    middle = probe.logit((a + b) / 2)

    torch.testing.assert_close(middle, (probe.logit(a) + probe.logit(b)) / 2, atol=1e-4, rtol=1e-4)


def test_weights_decide_which_rows_count() -> None:
    clean, _ = clean_and_noisy(0.0)
    both = Examples(
        clean.activation_ND.repeat(2, 1),
        torch.cat([clean.harmful_N, 1 - clean.harmful_N]),
        torch.cat([clean.weight_N, 1e-6 * clean.weight_N]),
    )

    probe = fit_probe(both, both, 0, ProbeOptions(epochs=100))

    assert roc_auc_score(clean.harmful_N, probe.risk(clean.activation_ND)) > 0.95


def test_probes_of_several_sites_read_their_own_columns_and_share_the_decision() -> None:
    clean, _ = clean_and_noisy(0.0)
    wide = Examples(torch.cat([clean.activation_ND, torch.randn(4000, 4)], dim=1), clean.harmful_N, clean.weight_N)

    probe = fit_site_probes(*halves(wide), 2, 0, ProbeOptions(epochs=50))

    assert probe.inner_weight[:64, 4:].abs().max() == probe.inner_weight[64:, :4].abs().max() == 0
    assert roc_auc_score(clean.harmful_N, probe.risk(wide.activation_ND)) > 0.95
