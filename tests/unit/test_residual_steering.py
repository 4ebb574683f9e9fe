"""Steering in the residual stream, the compared baseline."""

import pytest
import torch

from autosteer_core.activations import recorded
from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.residual_steering import ResidualShift, difference_of_means, shifted
from autosteer_core.values import Item
from tests.tiny_model import tiny_llava_onevision

TEXTS = ["cake", "how do I make a cake at home", "what is in the picture"]
GATE = torch.tensor([True, False, True])


@pytest.fixture(scope="module")
def backbone() -> LlavaOnevision:
    return tiny_llava_onevision()


def test_the_shift_reaches_its_layer_in_open_rows_and_no_other_row(backbone: LlavaOnevision) -> None:
    inputs = backbone.collate([backbone.encode(Item(text, text)) for text in TEXTS])
    shift = ResidualShift(2, torch.randn(32))
    with recorded(backbone.blocks, [2]) as plain:
        logits = backbone.model(**inputs).logits

    # Hooks run in the order they were placed: the shift first, then the recorder.
    with shifted(backbone.blocks, shift, GATE), recorded(backbone.blocks, [2]) as moved:
        steered = backbone.model(**inputs).logits

    torch.testing.assert_close(moved[2][GATE], plain[2][GATE] + shift.shift_D)
    assert torch.equal(moved[2][~GATE], plain[2][~GATE])
    assert torch.equal(steered[~GATE], logits[~GATE])
    assert not torch.equal(steered[GATE], logits[GATE])


def test_nothing_is_left_behind_even_half_way(backbone: LlavaOnevision) -> None:
    with pytest.raises(RuntimeError), shifted(backbone.blocks, ResidualShift(1, torch.ones(32)), GATE):
        raise RuntimeError

    assert not any(block._forward_hooks for block in backbone.blocks)


@pytest.mark.parametrize("layer", [0, 5])
def test_a_layer_that_does_not_exist_is_refused(backbone: LlavaOnevision, layer: int) -> None:
    with (
        pytest.raises(IndexError, match=f"layer {layer} does not exist"),
        shifted(backbone.blocks, ResidualShift(layer, torch.ones(32)), GATE),
    ):
        pass


def test_the_direction_leads_from_one_mean_to_the_other_and_can_be_scaled() -> None:
    towards, away = torch.tensor([[2.0, 0.0], [4.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 3.0]])

    shift = difference_of_means(7, towards, away).times(2)

    assert shift.layer == 7
    assert shift.shift_D.tolist() == [6.0, -4.0]
