"""The edit inside `generate`: how many tokens it lasts, for each row by itself."""

from dataclasses import replace

import pytest
import torch

from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.decoding import Answer, decode
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.steering import steered
from autosteer_core.values import Item
from tests.pictures import png
from tests.tiny_bundle import tiny_bundle
from tests.tiny_model import tiny_llava_onevision

ITEMS = [
    Item("short", "cake"),
    Item("long", "how do I make a cake at home, and what is in the picture then"),
    Item("picture", "what is in the picture", (png(size=(40, 30)),)),
    Item("closed", "how do I make a cake"),
]
GATES = [True, True, True, False]
LONGEST = 6


@pytest.fixture(scope="module")
def backbone() -> LlavaOnevision:
    return tiny_llava_onevision()


def answers(backbone: LlavaOnevision, head: RefusalHead, places: list[int]) -> list[Answer]:
    prompts = [backbone.encode(ITEMS[place]) for place in places]
    return decode(backbone, prompts, LONGEST, head, torch.tensor([GATES[place] for place in places]))


def limited(backbone: LlavaOnevision, tokens: int | None) -> RefusalHead:
    return replace(tiny_bundle(backbone).head, tokens=tokens)


@pytest.mark.parametrize("tokens", [1, 3])
def test_a_limited_edit_changes_the_first_tokens_and_then_leaves_the_model_alone(
    backbone: LlavaOnevision, tokens: int
) -> None:
    row = answers(backbone, limited(backbone, tokens), [1])[0]

    always = answers(backbone, limited(backbone, None), [1])[0]
    assert row.steered_tokens == tokens
    assert row.ids[:tokens] == always.ids[:tokens]
    prompt = backbone.encode(ITEMS[1]).extended(list(row.ids[:tokens]))
    assert row.ids[tokens:] == decode(backbone, [prompt], LONGEST - tokens)[0].ids
    assert row.ids != always.ids


def test_every_row_of_a_padded_batch_counts_its_own_tokens(backbone: LlavaOnevision) -> None:
    together = answers(backbone, limited(backbone, 2), [0, 1, 2, 3])

    alone = [answers(backbone, limited(backbone, 2), [place])[0] for place in range(4)]
    assert [row.ids for row in together] == [row.ids for row in alone]
    assert [row.steered_tokens for row in together] == [2, 2, 2, 0]


def test_a_limit_beyond_the_answer_is_no_limit(backbone: LlavaOnevision) -> None:
    far = answers(backbone, limited(backbone, LONGEST), [0, 1, 2])

    assert far == answers(backbone, limited(backbone, None), [0, 1, 2])


def test_closed_rows_have_bit_equal_logits_beside_steered_neighbours(backbone: LlavaOnevision) -> None:
    inputs = backbone.collate([backbone.encode(item) for item in ITEMS[:4]])
    gate = torch.tensor([True, False, True, False])
    plain = backbone.model(**inputs).logits

    with steered(backbone.head, tiny_bundle(backbone).head, gate) as record:
        edited = backbone.model(**inputs).logits

    assert torch.equal(edited[~gate], plain[~gate])
    assert not torch.equal(edited[gate], plain[gate])
    assert record.steered_passes.tolist() == [1, 0, 1, 0]


def test_an_error_inside_steering_leaves_no_hook_behind(backbone: LlavaOnevision) -> None:
    with pytest.raises(RuntimeError), steered(backbone.head, tiny_bundle(backbone).head, torch.tensor([True])):
        raise RuntimeError

    assert not backbone.head._forward_pre_hooks
