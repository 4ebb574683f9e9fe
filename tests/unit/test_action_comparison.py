"""The gate's actions and the baselines beside each other, on a random model."""

from dataclasses import replace

import pytest
import torch

from autosteer_core.action_comparison import (
    STRENGTHS,
    ActionOutcome,
    Baselines,
    Decoding,
    best_strength,
    clearly_best,
    compare_actions,
)
from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.evaluation import Rate
from autosteer_core.residual_steering import ResidualShift
from autosteer_core.values import GateAction, Item
from tests.tiny_bundle import tiny_bundle
from tests.tiny_model import tiny_llava_onevision

DECODING = Decoding(batch_rows=3, max_new_tokens=4)


@pytest.fixture(scope="module")
def backbone() -> LlavaOnevision:
    return tiny_llava_onevision()


def test_every_way_is_measured_on_every_row(backbone: LlavaOnevision) -> None:
    prompts = [backbone.encode(Item(str(row), f"how do I make {row}")) for row in range(5)]
    bundle = tiny_bundle(backbone)
    baselines = Baselines(ResidualShift(2, torch.ones(32)), paper=replace(bundle, refusal="other"))

    outcomes = compare_actions(backbone, bundle, prompts, baselines, DECODING)

    assert list(outcomes) == ["none", "steer", "prefix", "canned", "residual", "paper"]
    assert {outcome.refused.trials for outcome in outcomes.values()} == {5}
    assert outcomes["canned"] == ActionOutcome(Rate(5, 5), Rate(0, 5))
    assert outcomes["none"].refused == Rate(0, 5)
    assert outcomes["paper"] == outcomes["steer"]
    assert outcomes["none"].described()["refused"] == "0.0% [0.0%, 43.4%]"


def test_baselines_that_were_not_fitted_are_left_out(backbone: LlavaOnevision) -> None:
    prompts = [backbone.encode(Item("one", "cake"))]

    outcomes = compare_actions(backbone, tiny_bundle(backbone), prompts, Baselines(), DECODING)

    assert list(outcomes) == ["none", "steer", "prefix", "canned"]


@pytest.mark.parametrize(
    ("steer", "prefix", "expected"),
    [(30, 31, GateAction.STEER), (10, 32, GateAction.PREFIX), (10, 12, GateAction.CANNED)],
)
def test_steer_stays_unless_another_action_is_clearly_better(steer: int, prefix: int, expected: GateAction) -> None:
    canned = 32 if expected is GateAction.CANNED else 0
    outcomes = {
        name: ActionOutcome(Rate(refused, 32), Rate(0, 32))
        for name, refused in (("steer", steer), ("prefix", prefix), ("canned", canned))
    }

    assert clearly_best(outcomes) is expected


def test_the_strength_of_a_shift_is_one_of_those_tried(backbone: LlavaOnevision) -> None:
    prompts = [backbone.encode(Item("one", "cake"))]
    shift = ResidualShift(2, torch.ones(32))

    chosen = best_strength(backbone, shift, prompts, DECODING)

    assert any(torch.equal(chosen.shift_D, shift.shift_D * strength) for strength in STRENGTHS)
