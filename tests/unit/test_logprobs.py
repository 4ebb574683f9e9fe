"""Log probabilities of the tokens of an answer: those of a plain forward pass over prompt and answer."""

import pytest
import torch

from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer, decode
from autosteer_core.gate_actions import Refuser
from autosteer_core.request import Request
from autosteer_core.sampling import Sampling
from autosteer_core.slots.slot_decoder import SlotDecoder
from autosteer_core.static_decoder import StaticDecoder
from autosteer_core.steering import steered
from autosteer_core.values import GateAction
from autosteer_core.work import Work, single
from tests.tiny_bundle import tiny_bundle
from tests.tiny_items import mixed_items
from tests.tiny_models.registry import PICTURED, TINY

FAMILIES = ["llava_onevision", "qwen2_vl", "gemma3_text"]
LIMITS = [9, 2, 12, 1, 5, 7]


def requests_of(backbone: ChatBackbone, pictured: bool = True) -> list[Request]:
    items = [item for item in mixed_items(12) if pictured or not item.images][:6]
    return [
        Request(backbone.encode(item), limit, seed=limit, logprobs=True)
        for item, limit in zip(items, LIMITS, strict=True)
    ]


def in_batches(backbone: ChatBackbone, bundle: Bundle, requests: list[Request], gates: list[bool]) -> list[Answer]:
    works = [Work(request, bundle, gate) for request, gate in zip(requests, gates, strict=True)]
    return [answer for answer in StaticDecoder(backbone).drive([*map(single, works)]) if answer is not None]


def by_forward_pass(
    backbone: ChatBackbone, bundle: Bundle, request: Request, answer: Answer, gate: bool
) -> list[float]:
    """One pass at batch 1, every state edited where the gate is open."""
    whole = request.prompt.extended(list(answer.ids))
    with torch.inference_mode(), steered(backbone.head, bundle.head, torch.tensor([gate])):
        logits_TV = backbone.model(**backbone.collate([whole])).logits[0].float()
    before = logits_TV[len(request.prompt.ids) - 1 : -1] if answer.ids else logits_TV[:0]
    return torch.log_softmax(before, 1).gather(1, torch.tensor(answer.ids).long()[:, None])[:, 0].tolist()


@pytest.mark.parametrize("sampling", [None, Sampling(1.5, top_k=9)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("penalty", [None, 1.3])
@pytest.mark.parametrize("name", FAMILIES)
def test_rows_in_slots_tell_what_a_forward_pass_tells(
    name: str, penalty: float | None, sampling: Sampling | None
) -> None:
    backbone = TINY[name](0).backbone
    backbone.model.generation_config.repetition_penalty = penalty
    bundle, requests = tiny_bundle(backbone), requests_of(backbone, name in PICTURED)
    gates = [place % 2 == 1 for place in range(6)]

    answers = SlotDecoder(backbone, 3, sampling).decode(bundle, requests, gates, look=False)

    for answer, request, gate in zip(answers, requests, gates, strict=True):
        assert answer.logprobs == pytest.approx(by_forward_pass(backbone, bundle, request, answer, gate), abs=1e-4)
    assert sum(len(answer.logprobs or ()) for answer in answers) > 20


@pytest.mark.parametrize("name", FAMILIES)
def test_padded_batches_tell_the_same_and_are_cut_with_their_rows(name: str) -> None:
    backbone = TINY[name](0).backbone
    bundle, requests = tiny_bundle(backbone), requests_of(backbone, name in PICTURED)
    gates = [place % 2 == 1 for place in range(6)]

    answers = in_batches(backbone, bundle, requests, gates)

    for answer, request, gate in zip(answers, requests, gates, strict=True):
        assert answer.logprobs == pytest.approx(by_forward_pass(backbone, bundle, request, answer, gate), abs=1e-4)
    assert not backbone.model._forward_hooks


def test_only_rows_that_ask_are_told() -> None:
    backbone = TINY["llava_onevision"](0).backbone
    asking, other = requests_of(backbone)[:2]
    silent = Request(other.prompt, 5)

    bundle, gates = tiny_bundle(backbone), [False, False]
    in_slots = SlotDecoder(backbone, 2).decode(bundle, [asking, silent], gates, look=False)

    for answers in (in_slots, in_batches(backbone, bundle, [asking, silent], gates)):
        assert [answer.logprobs is None for answer in answers] == [False, True]
    assert decode(backbone, [silent.prompt], 5)[0].logprobs is None


def test_a_fixed_text_has_none_and_a_forced_opening_only_those_of_its_continuation() -> None:
    backbone = TINY["llava_onevision"](0).backbone
    bundle, request = tiny_bundle(backbone), requests_of(backbone)[0]

    canned, opened = (
        StaticDecoder(backbone).drive([Refuser(backbone, bundle, action).refuse(request)])[0]
        for action in (GateAction.CANNED, GateAction.PREFIX)
    )

    assert canned.logprobs is None
    assert opened.logprobs is not None
    assert 0 < len(opened.logprobs) < len(opened.ids) <= LIMITS[0]
