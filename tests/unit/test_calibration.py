"""From labelled items to a bundle, on a random model whose activations still tell words apart."""

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console

from autosteer_core.bundle import Bundle
from autosteer_core.calibration import Calibration, CalibrationOptions, CalibrationSet, calibrate
from autosteer_core.errors import UserMistake
from autosteer_core.head_fitting import HeadOptions
from autosteer_core.labelled import HoldOut, labelled, split
from autosteer_core.layer_choice import recall_at
from autosteer_core.operating_point import Bound
from autosteer_core.paper_form import PaperOptions, Schedule
from autosteer_core.probe_fitting import Examples, ProbeOptions, expected_calibration_error, fit_probe
from autosteer_core.second_look_fitting import LookOptions
from autosteer_core.values import Annotation, Item, Label
from pipelines.tables import bundle_table
from tests.tiny_model import tiny_llava_onevision

OPTIONS = CalibrationOptions(
    bound=Bound(alpha=0.2),
    max_new_tokens=4,
    head_rows=8,
    tried_rows=4,
    head=HeadOptions(steps=5, positions=16, benign_tokens=4),
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
def made() -> Calibration:
    return calibrate(tiny_llava_onevision(), CalibrationSet(items(), "hash"), OPTIONS, lambda step: None)


@pytest.fixture(scope="module")
def bundle(made: Calibration) -> Bundle:
    return made.bundle


def test_the_bundle_belongs_to_the_model_and_keeps_its_promise(bundle: Bundle) -> None:
    bundle.require(tiny_llava_onevision().fingerprint)

    assert bundle.guarantee.bound <= OPTIONS.bound.alpha
    assert bundle.report["probe"]["mlp"]["auroc"] > 0.9
    assert bundle.report["calibration_set"]["sha256"] == "hash"


def test_every_layer_is_reported(bundle: Bundle) -> None:
    choice = bundle.report["layer_choice"]

    assert choice["layers"] == [1, 2, 3, 4]
    assert len(choice["score"]) == len(choice["recall"]["text"]) == 4


def test_all_gate_actions_are_measured_and_a_fixed_text_always_refuses(bundle: Bundle) -> None:
    assert set(bundle.report["gate_actions"]) == {"none", "steer", "prefix", "canned", "residual"}
    assert bundle.report["gate_actions"]["canned"]["refused"].startswith("100.0%")


def test_the_bundle_can_be_shown_as_a_table(bundle: Bundle) -> None:
    console = Console(file=StringIO(), width=120)

    console.print(bundle_table(bundle))

    assert "refused by steer" in console.file.getvalue()  # type: ignore[attr-defined]


def test_twins_of_different_sources_join_them() -> None:
    twins = [
        replace(item, annotation=replace(item.annotation, source=f"{item.annotation.source}-{item.annotation.label}"))
        for item in items(sources=12)
    ]
    data = labelled(twins, torch.zeros(120, 1, 2, 4), HoldOut.SOURCE)

    parts = split(data, seed=0)

    homes = [set(data.pair_N[rows]) for rows in (parts.train, parts.validation, parts.threshold)]
    assert data.units == 12
    assert not (homes[0] & homes[1] or homes[0] & homes[2] or homes[1] & homes[2])


def test_the_controls_differ_from_the_bundle_only_where_they_should(made: Calibration) -> None:
    control = made.controls["random-layer"]

    assert control.layers[0] not in made.bundle.layers
    assert control.head is made.bundle.head
    assert control.guarantee.bound <= OPTIONS.bound.alpha


def test_the_papers_form_and_a_second_look_are_made_where_asked_for() -> None:
    fast = Schedule(1e-3, 8, 2, 0.0)
    options = replace(
        OPTIONS,
        paper=PaperOptions(probe=fast, head=fast, head_rows=6),
        look=LookOptions(every=2, max_new_tokens=6),
        head_rows=60,
    )

    made = calibrate(tiny_llava_onevision(), CalibrationSet(items(), "hash"), options, lambda step: None)

    assert made.controls["paper-form"].guarantee.threshold == pytest.approx(0.5)
    assert "paper" in made.bundle.report["gate_actions"]
    assert made.bundle.second_look is not None
    assert made.bundle.report["second_look"]["every"] == 2


def test_traffic_moves_the_threshold_rows_towards_it() -> None:
    like = [Item(item.item_id, item.text) for item in items(60)]

    made = calibrate(tiny_llava_onevision(), CalibrationSet(items(240), "hash", like), OPTIONS, lambda step: None)

    measured = made.bundle.report["probe"]
    assert measured["importance"]["accepted"] < made.bundle.report["calibration_set"]["threshold"]


def test_the_same_items_and_seed_give_the_same_bundle(bundle: Bundle) -> None:
    again = calibrate(tiny_llava_onevision(), CalibrationSet(items(), "hash"), OPTIONS, lambda step: None).bundle

    assert again.bundle_id == bundle.bundle_id


def test_too_few_items_are_refused_with_the_number_needed() -> None:
    with pytest.raises(UserMistake, match="harmful items are held out .* needs at least"):
        calibrate(
            tiny_llava_onevision(),
            CalibrationSet(items(), "hash"),
            replace(OPTIONS, bound=Bound(0.01)),
            lambda step: None,
        )


def test_fewer_sources_than_folds_are_refused() -> None:
    data = labelled(items(sources=3), torch.zeros(120, 1, 2, 4), HoldOut.SOURCE)

    with pytest.raises(UserMistake, match="the items make 3 units .* at least 5"):
        split(data, seed=0)


def test_an_unlabelled_item_is_refused_by_name() -> None:
    with pytest.raises(UserMistake, match="item stray has no label"):
        labelled([*items(2), Item("stray", "x")], torch.zeros(5, 1, 2, 4))


@pytest.mark.parametrize(
    ("sources", "hold_out", "kept"),
    [
        (6, HoldOut.AUTO, "source_N"),
        (2, HoldOut.AUTO, "pair_N"),
        (20, HoldOut.PAIR, "pair_N"),
        (12, HoldOut.SOURCE, "source_N"),
    ],
)
def test_splits_keep_sources_or_at_least_twins_together(sources: int, hold_out: HoldOut, kept: str) -> None:
    data = labelled(items(sources=sources), torch.zeros(120, 1, 2, 4), hold_out)

    parts = split(data, seed=0)

    together = getattr(data, kept)
    homes = [set(together[rows]) for rows in (parts.train, parts.validation, parts.threshold)]
    assert not (homes[0] & homes[1] or homes[0] & homes[2] or homes[1] & homes[2])
    assert sorted(np.concatenate([parts.train, parts.validation, parts.threshold])) == list(range(120))


def test_a_fitted_probe_separates_and_is_calibrated() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 2
    features = torch.randn(600, 8, generator=generator) + labels[:, None]

    probe = fit_probe(
        Examples.of(features[:300], labels[:300]),
        Examples.of(features[300:450], labels[300:450]),
        0,
        ProbeOptions(epochs=200),
    )

    risk, harmful = probe.risk(features[450:]).double().numpy(), labels[450:].numpy() == 1
    assert recall_at(risk[harmful], risk[~harmful], 0.1) > 0.6
    assert expected_calibration_error(risk, harmful) < 0.15


def test_recall_counts_harmful_risks_above_all_but_the_allowed_benign_ones() -> None:
    assert recall_at(np.array([0.2, 0.6, 0.9]), np.array([0.1] * 99 + [0.5]), 0.01) == pytest.approx(2 / 3)
