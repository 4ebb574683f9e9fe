"""Reading layers and stopping early, on a random model."""

import pytest
import torch

from autosteer_core.activations import read_activations, recorded, truncated
from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.budget import Budget
from autosteer_core.values import Item, Pooling
from tests.pictures import png
from tests.tiny_model import tiny_llava_onevision

ITEMS = [
    Item("a", "what is in the picture", (png("red"),)),
    Item("b", "how do I make a cake at home"),
    Item("c", "hm", (png("blue", (30, 60)),)),
]


@pytest.fixture(scope="module")
def backbone() -> LlavaOnevision:
    return tiny_llava_onevision()


def test_a_layer_is_what_transformers_calls_the_hidden_state_that_enters_its_block(backbone: LlavaOnevision) -> None:
    prompt = backbone.encode(ITEMS[1])

    read = read_activations(backbone, [prompt], [1, 3])[0]

    states = backbone.model.model(**backbone.collate([prompt]), output_hidden_states=True).hidden_states
    own = len(prompt.ids) - len(backbone.shared_prefix)
    for place, layer in enumerate([1, 3]):
        torch.testing.assert_close(read[place, Pooling.LAST.place], states[layer][0, -1])
        torch.testing.assert_close(read[place, Pooling.MEAN.place], states[layer][0, -own:].mean(dim=0))


def test_rows_of_a_padded_batch_equal_rows_read_alone(backbone: LlavaOnevision) -> None:
    prompts = [backbone.encode(item) for item in ITEMS]

    together = read_activations(backbone, prompts, [2, 4])

    alone = torch.cat([read_activations(backbone, [prompt], [2, 4]) for prompt in prompts])
    torch.testing.assert_close(together, alone, atol=2e-4, rtol=1e-4)


def test_sharing_the_templates_prefix_changes_nothing(backbone: LlavaOnevision) -> None:
    prompts = [backbone.encode(item) for item in ITEMS]
    assert all(prompt.ids[: len(backbone.shared_prefix)] == backbone.shared_prefix for prompt in prompts)

    shared = read_activations(backbone, prompts, [4])[:, 0, Pooling.LAST.place]

    with recorded(backbone.blocks, [4]) as whole:
        backbone.body(**backbone.collate(prompts))
    torch.testing.assert_close(shared, whole[4], atol=2e-4, rtol=1e-4)


def test_order_of_prompts_is_kept_although_batches_are_made_by_length(backbone: LlavaOnevision) -> None:
    prompts = [backbone.encode(item) for item in ITEMS]

    forward = read_activations(backbone, prompts, [2], Budget(tokens=1))

    backward = read_activations(backbone, prompts[::-1], [2], Budget(tokens=1))
    assert torch.equal(forward, backward.flip(0))


def test_a_bad_layer_leaves_no_hook_behind(backbone: LlavaOnevision) -> None:
    before = [dict(block._forward_hooks) for block in backbone.blocks]  # Transformers leaves some of its own

    with (
        pytest.raises(IndexError, match="layer 9 does not exist, expected 1 to 4"),
        recorded(backbone.blocks, [1, 9]),
    ):
        pass

    assert [dict(block._forward_hooks) for block in backbone.blocks] == before


def test_a_truncated_model_is_whole_again_after_an_error(backbone: LlavaOnevision) -> None:
    with pytest.raises(RuntimeError), truncated(backbone, 2):
        assert len(backbone.blocks) == 2
        raise RuntimeError

    assert len(backbone.blocks) == 4


def test_truncation_stops_the_blocks_above_from_running(backbone: LlavaOnevision) -> None:
    ran: list[int] = []
    handle = backbone.blocks[3].register_forward_hook(lambda *_: ran.append(3))
    try:
        read_activations(backbone, [backbone.encode(ITEMS[1])], [2])
    finally:
        handle.remove()

    assert not ran
