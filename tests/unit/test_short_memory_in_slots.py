"""Memory that runs out while rows are in flight: they wait or begin again, and answer as with plenty."""

from typing import Any

import pytest
import torch

from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.decoding import Answer
from autosteer_core.request import Request
from autosteer_core.slots.slot_decoder import SlotDecoder
from autosteer_core.values import Item
from tests.small_memory import SmallMemory
from tests.tiny_bundle import tiny_bundle
from tests.tiny_items import mixed_items
from tests.tiny_model import tiny_llava_onevision

LIMITS = [2, 14, 5, 9, 3, 7]


@pytest.fixture(scope="module")
def backbone() -> ChatBackbone:
    return tiny_llava_onevision()


def decoded(backbone: ChatBackbone, requests: list[Request], decoder: SlotDecoder) -> list[Answer]:
    gates = [place % 2 == 1 for place in range(len(requests))]
    return decoder.decode(tiny_bundle(backbone), requests, gates, look=False)


def test_a_prompt_too_large_beside_others_waits_for_them_and_is_lost_only_alone(backbone: ChatBackbone) -> None:
    requests = [Request(backbone.encode(item), limit) for item, limit in zip(mixed_items(6), LIMITS, strict=True)]
    huge = Request(backbone.encode(Item("huge", "cake home " * 300)), 3)
    plenty = decoded(backbone, requests, SlotDecoder(backbone, 2))

    with SmallMemory(55_000) as memory:
        *others, lost = decoded(backbone, [*requests, huge], SlotDecoder(backbone, 2))

    assert memory.refused == 3  # beside a row, alone beside the slots, alone
    assert others == plenty
    assert lost.flaw is not None and lost.flaw.code == "E_OUT_OF_MEMORY"


def test_steps_that_do_not_fit_are_repeated_with_fewer_rows_for_good(backbone: ChatBackbone) -> None:
    requests = [Request(backbone.encode(item), limit) for item, limit in zip(mixed_items(6), LIMITS, strict=True)]
    plenty = decoded(backbone, requests, SlotDecoder(backbone, 6))
    decoder = SlotDecoder(backbone, 6)
    steps: list[int] = []

    def full(module: Any, args: Any, inputs: dict[str, Any]) -> None:
        """Stands for the allocator, which from the third step on has no room for more than three rows."""
        ids_NT = inputs.get("input_ids")
        if ids_NT is not None and ids_NT.shape[1] == 1 and len(ids_NT) > 1:
            steps.append(len(ids_NT))
            if len(ids_NT) > 3 and len(steps) > 2:
                raise torch.OutOfMemoryError

    handle = backbone.model.register_forward_pre_hook(full, with_kwargs=True)
    try:
        short = decoded(backbone, requests, decoder)
        first = len(steps)
        again = decoded(backbone, requests, decoder)
    finally:
        handle.remove()

    assert steps[:3] == [6, 6, 5]  # two tokens were already said where memory ran out
    assert short == again == plenty
    assert max(steps[first:]) == 3
