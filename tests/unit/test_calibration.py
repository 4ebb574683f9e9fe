"""From labelled items to a bundle, on a random model whose activations still tell words apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autosteer_core.bundle import Bundle
from autosteer_core.calibration import CalibrationOptions, calibrate
from autosteer_core.errors import UserMistake
from autosteer_core.head_fitting import HeadOptions
from autosteer_core.labelled import keep_together, labelled, split
from autosteer_core.layer_choice import recall_at
from autosteer_core.probe_fitting import ProbeOptions, expected_calibration_error, fit_probe
from autosteer_core.values import Annotation, Item, Label
from tests.tiny_model import tiny_llava_onevision

OPTIONS = CalibrationOptions(
    alpha=0.2, max_new_tokens=4, head_rows=8, tried_rows=4, head=HeadOptions(steps=5, positions=16, benign_tokens=4)
)


def items(pairs: int = 60, sources: int = 6) -> list[Item]:
    """Harmful items end in another word than their twins."""
    return [
        Item(
            f"{pair}-{label}",
            f"how do I make number {pair} {'bomb bomb' if label is Label.HARMFUL else 'cake cake'}",
            annotation=Annotation(label, "text", str(pair), f"source-{pair % sources}"),
        )
        for pair in range(pairs)
        for label in (Label.HARMFUL, Label.BENIGN)
    ]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return calibrate(tiny_llava_onevision(), items(), "hash", OPTIONS, lambda step: None)


def test_the_bundle_belongs_to_the_model_and_keeps_its_promise(bundle: Bundle) -> None:
    bundle.require(tiny_llava_onevision().fingerprint)

    assert bundle.guarantee.bound <= OPTIONS.alpha
    assert bundle.report["probe"]["mlp"]["auroc"] > 0.9
    assert bundle.report["calibration_set"]["sha256"] == "hash"


def test_every_layer_is_reported(bundle: Bundle) -> None:
    choice = bundle.report["layer_choice"]

    assert choice["layers"] == [1, 2, 3, 4]
    assert len(choice["score"]) == len(choice["recall"]["text"]) == 4


def test_all_gate_actions_are_measured_and_a_fixed_text_always_refuses(bundle: Bundle) -> None:
    assert set(bundle.report["gate_actions"]) == {"steer", "prefix", "canned"}
    assert bundle.report["gate_actions"]["canned"].startswith("100.0%")


def test_the_same_items_and_seed_give_the_same_bundle(bundle: Bundle) -> None:
    again = calibrate(tiny_llava_onevision(), items(), "hash", OPTIONS, lambda step: None)

    assert again.bundle_id == bundle.bundle_id


def test_too_few_items_are_refused_with_the_number_needed() -> None:
    with pytest.raises(UserMistake, match="harmful items are held out .* needs at least"):
        calibrate(tiny_llava_onevision(), items(), "hash", replace(OPTIONS, alpha=0.01), lambda step: None)


def test_an_unlabelled_item_is_refused_by_name() -> None:
    with pytest.raises(UserMistake, match="item stray has no label"):
        labelled([*items(2), Item("stray", "x")], torch.zeros(5, 1, 4))


@pytest.mark.parametrize(("sources", "kept"), [(6, "source_N"), (2, "pair_N")])
def test_splits_keep_sources_or_at_least_twins_together(sources: int, kept: str) -> None:
    data = labelled(items(sources=sources), torch.zeros(120, 1, 4))

    parts = split(data, seed=0)

    together = getattr(data, kept)
    assert np.array_equal(keep_together(data), together)
    homes = [set(together[rows]) for rows in (parts.train, parts.validation, parts.threshold)]
    assert not (homes[0] & homes[1] or homes[0] & homes[2] or homes[1] & homes[2])
    assert sorted(np.concatenate([parts.train, parts.validation, parts.threshold])) == list(range(120))


def test_a_fitted_probe_separates_and_is_calibrated() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 2
    features = torch.randn(600, 8, generator=generator) + labels[:, None]

    probe = fit_probe(
        (features[:300], labels[:300]), (features[300:450], labels[300:450]), 0, ProbeOptions(epochs=200)
    )

    risk, harmful = probe.risk(features[450:]).double().numpy(), labels[450:].numpy() == 1
    assert recall_at(risk[harmful], risk[~harmful], 0.1) > 0.6
    assert expected_calibration_error(risk, harmful) < 0.15


def test_recall_counts_harmful_risks_above_all_but_the_allowed_benign_ones() -> None:
    assert recall_at(np.array([0.2, 0.6, 0.9]), np.array([0.1] * 99 + [0.5]), 0.01) == pytest.approx(2 / 3)
