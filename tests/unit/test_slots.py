"""Rows in slots: every token equals plain `generate` of the row alone, whoever is beside it or was there before."""

from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor

from autosteer_core.backbones.base import Prompt
from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.backbones.text_decoder import TextDecoder
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer, decode
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import UserMistake
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.request import Request
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.slots.parity import check_parity
from autosteer_core.slots.slot_decoder import SlotDecoder
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import Item
from autosteer_core.work import Work
from tests.pictures import png
from tests.tiny_bundle import tiny_bundle
from tests.tiny_items import mixed_items
from tests.tiny_model import tiny_llava_onevision
from tests.tiny_models.registry import PICTURED, TINY

LIMITS = [9, 2, 12, 1, 5, 7]


def shown_items(name: str) -> list[Item]:
    """Short and long, with one picture, with two, without text."""
    texts = [
        Item("short", "hm"),
        Item("long", "how do I make a cake at home " * 4),
        Item("middle", "compare the two"),
    ]
    pictures = (png("red", (40, 60)), png("blue", (70, 30)))
    pictured = [Item("one", "what is it", pictures[:1]), Item("none", "", pictures[1:]), Item("two", "so", pictures)]
    return texts + (pictured if name in PICTURED else [replace(item, item_id=f"{item.item_id} 2") for item in texts])


def alone(backbone: ChatBackbone, prompt: Prompt, tokens: int, bundle: Bundle, gate: bool) -> Answer:
    return decode(backbone, [prompt], tokens, bundle.head, torch.tensor([gate]))[0]


def middle_risk(backbone: ChatBackbone, layer: int, items: list[Item]) -> float:
    """Half of the items lie above it."""
    rows = StaticEngine(backbone, tiny_bundle(backbone, layer=layer), EngineOptions()).audit(items)
    return median(row.risk for row in rows)


@pytest.fixture(scope="module")
def backbone() -> ChatBackbone:
    return tiny_llava_onevision()


@pytest.mark.parametrize("name", TINY)
def test_every_family_answers_in_slots_as_it_does_alone(name: str) -> None:
    backbone = TINY[name](0).backbone
    bundle = tiny_bundle(backbone)
    prompts = [backbone.encode(item) for item in shown_items(name)]
    gates = [place % 2 == 1 for place in range(len(prompts))]
    requests = [Request(prompt, limit) for prompt, limit in zip(prompts, LIMITS, strict=True)]

    answers = SlotDecoder(backbone, 2).decode(bundle, requests, gates, look=False)

    wanted = [
        alone(backbone, prompt, limit, bundle, gate)
        for prompt, limit, gate in zip(prompts, LIMITS, gates, strict=True)
    ]
    assert answers == wanted
    assert len({answer.ids for answer in answers}) > 3


@pytest.mark.parametrize("name", TINY)
def test_decoding_in_slots_leaves_no_hook_and_no_state_on_the_model(name: str) -> None:
    backbone = TINY[name](0).backbone
    requests = [Request(backbone.encode(item), 3) for item in shown_items(name)]

    SlotDecoder(backbone, 2).decode(tiny_bundle(backbone), requests, [True] * 6, look=False)

    ours = [backbone.head, *backbone.blocks]  # Transformers leaves hooks of its own in vision towers
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in ours)
    assert getattr(backbone.body, "rope_deltas", None) is None


def test_two_bundles_in_flight_answer_as_each_does_alone(backbone: ChatBackbone) -> None:
    items = mixed_items(24)
    generator = torch.Generator().manual_seed(7)
    down, up = (torch.randn(32, 4, generator=generator) for _ in range(2))
    one = tiny_bundle(backbone, middle_risk(backbone, 2, items))
    two = tiny_bundle(backbone, middle_risk(backbone, 3, items), layer=3)
    two = replace(two, head=RefusalHead(down, up, 0.1, tokens=2))
    bundles = [one if item.row % 2 else two for item in items]
    options = EngineOptions(max_new_tokens=6, slots=4)

    mixed = SlotEngine(backbone, one, options).generate_under(items, bundles)

    wanted = [
        StaticEngine(backbone, bundle, options).generate([item])[0]
        for item, bundle in zip(items, bundles, strict=True)
    ]
    assert [(row.answer, row.gate_open, row.steered_tokens) for row in mixed] == [
        (row.answer, row.gate_open, row.steered_tokens) for row in wanted
    ]
    for bundle in (one, two):
        gates = {row.gate_open for row, own in zip(mixed, bundles, strict=True) if own is bundle}
        assert gates == {True, False}


def test_closed_rows_have_bit_equal_logits_beside_steered_neighbours(backbone: ChatBackbone) -> None:
    bundle = tiny_bundle(backbone)
    prompts = sorted((backbone.encode(item) for item in mixed_items(6)), key=lambda prompt: len(prompt.ids))
    gates = [True, False, False, True, False, True]

    def logits(gates: list[bool]) -> list[Tensor]:
        seen: list[Tensor] = []
        handle = backbone.head.register_forward_hook(lambda module, args, output: seen.append(output[:, -1]))
        try:
            SlotDecoder(backbone, 6).decode(bundle, [Request(prompt, 4) for prompt in prompts], gates, look=False)
        finally:
            handle.remove()
        return seen

    mixed, plain = logits(gates), logits([False] * 6)

    assert len(mixed) == len(plain) == 4
    for step in range(4):
        for row, gate in enumerate(gates):
            assert torch.equal(mixed[step][row], plain[step][row]) is not gate


def test_the_edit_lasts_as_many_tokens_as_the_head_says(backbone: ChatBackbone) -> None:
    bundle = tiny_bundle(backbone)
    bundle = replace(bundle, head=replace(bundle.head, tokens=2))
    requests = [Request(backbone.encode(item), limit) for item, limit in zip(mixed_items(6), LIMITS, strict=True)]

    answers = SlotDecoder(backbone, 2).decode(bundle, requests, [True] * 6, look=False)

    assert answers == [alone(backbone, each.prompt, each.max_new_tokens, bundle, True) for each in requests]
    assert [answer.steered_tokens for answer in answers] == [2, 2, 2, 1, 2, 2]


def test_a_refilled_slot_shows_nothing_of_its_former_row(backbone: ChatBackbone) -> None:
    bundle = tiny_bundle(backbone)
    decoder = SlotDecoder(backbone, 3)
    long = [Request(backbone.encode(Item(str(row), "how do I make a cake " * 9)), 20) for row in range(3)]
    decoder.decode(bundle, long, [False] * 3, look=False)
    with torch.inference_mode():
        for layer in decoder._cache.layers:
            for slot, used in enumerate(decoder._cache._used):
                layer.keys[slot, :, :used] = torch.nan
                layer.values[slot, :, :used] = torch.nan
    requests = [Request(backbone.encode(item), limit) for item, limit in zip(mixed_items(6), LIMITS, strict=True)]

    answers = decoder.decode(bundle, requests, [False] * 6, look=False)

    assert answers == [alone(backbone, each.prompt, each.max_new_tokens, bundle, False) for each in requests]


def test_a_row_whose_states_are_nan_does_not_touch_its_neighbours(backbone: ChatBackbone) -> None:
    bundle = tiny_bundle(backbone)
    requests = [Request(backbone.encode(item), limit) for item, limit in zip(mixed_items(6), LIMITS, strict=True)]
    poison = replace(bundle, head=replace(bundle.head, epsilon=float("nan")))
    works = [
        Work(each, poison if row == 2 else bundle, lambda risk, row=row: row == 2)
        for row, each in enumerate(requests)
    ]

    answers = SlotDecoder(backbone, 3).run(works)

    for row, (answer, each) in enumerate(zip(answers, requests, strict=True)):
        if row != 2:
            assert answer == alone(backbone, each.prompt, each.max_new_tokens, bundle, False)


def test_work_that_its_gate_turns_away_is_not_decoded(backbone: ChatBackbone) -> None:
    bundle, told = tiny_bundle(backbone), []
    requests = [Request(backbone.encode(item), 3) for item in mixed_items(5)]

    answers = SlotDecoder(backbone, 2).run([Work(each, bundle, told.append) for each in requests])

    assert answers == [None] * 5
    assert len(told) == 5 and all(0 <= measured.risk <= 1 for measured in told)


def test_an_items_own_limit_counts_below_the_runs(backbone: ChatBackbone) -> None:
    items = [
        replace(item, max_new_tokens=limit)
        for item, limit in zip(mixed_items(6), [1, 3, 99, None, 2, 4], strict=True)
    ]
    options = EngineOptions(max_new_tokens=5, slots=2, batch_rows=6)
    bundle = tiny_bundle(backbone)

    in_slots = SlotEngine(backbone, bundle, options).generate(items)

    batched = StaticEngine(backbone, bundle, options).generate(items)
    assert [replace(row, risk=0) for row in in_slots] == [replace(row, risk=0) for row in batched]
    assert in_slots[0].answer != in_slots[2].answer


def settings_of(backbone: ChatBackbone, said: list[int]) -> dict[str, dict[str, Any]]:
    """Generation settings that change greedy answers, of which `said` is one."""
    start = len(backbone.encode(mixed_items(2)[1]).ids)
    return {
        "penalty": {"repetition_penalty": 1.3},
        "ngram": {"no_repeat_ngram_size": 1},
        "bad words": {"bad_words_ids": [said[:1], said[1:3]]},
        "bias": {"sequence_bias": [[said[:1], -9.0], [said[2:4], 9.0]]},
        "new": {"eos_token_id": said[1], "min_new_tokens": 5},
        "length": {"eos_token_id": said[1], "min_length": start + 6},
        "all": {
            "repetition_penalty": 1.2,
            "no_repeat_ngram_size": 3,
            "bad_words_ids": [said[:1]],
            "min_new_tokens": 9,
        },
    }


@pytest.mark.parametrize("name", ["penalty", "ngram", "bad words", "bias", "new", "length", "all"])
def test_generation_settings_of_the_model_are_kept(name: str) -> None:
    backbone = tiny_llava_onevision()
    backbone.model.generation_config.eos_token_id = []
    requests = [Request(backbone.encode(item), 12) for item in mixed_items(4)]
    plain = [decode(backbone, [each.prompt], 12)[0].ids for each in requests]
    settings = settings_of(backbone, list(plain[0]))[name]
    if "eos_token_id" in settings:
        backbone.model.generation_config.eos_token_id = settings["eos_token_id"]
        plain = [decode(backbone, [each.prompt], 12)[0].ids for each in requests]
    backbone.model.generation_config.update(**settings)

    answers = SlotDecoder(backbone, 2).decode(tiny_bundle(backbone), requests, [False] * 4, look=False)

    wanted = [decode(backbone, [each.prompt], 12)[0].ids for each in requests]
    assert [answer.ids for answer in answers] == wanted != plain


def test_generation_settings_that_slots_cannot_serve_are_refused_with_their_name(backbone: ChatBackbone) -> None:
    backbone.model.generation_config.begin_suppress_tokens = [3]
    try:
        with pytest.raises(UserMistake, match="begin_suppress_tokens=.*engine=static"):
            SlotDecoder(backbone, 2)
    finally:
        backbone.model.generation_config.begin_suppress_tokens = None


def test_layers_that_no_mask_can_serve_are_refused_with_their_name(backbone: ChatBackbone) -> None:
    text = backbone.model.config.get_text_config()
    text.layer_types = ["full_attention", "chunked_attention"] * 2
    try:
        with pytest.raises(UserMistake, match="llava_onevision has chunked_attention.*engine=static"):
            SlotDecoder(backbone, 2)
    finally:
        del text.layer_types


@pytest.mark.parametrize("name", TINY)
def test_every_family_passes_its_start_up_check(name: str) -> None:
    backbone = TINY[name](0).backbone

    check_parity(backbone, tiny_bundle(backbone))


class Misplaced(TextDecoder):
    """A family whose prompts are laid out at twice their positions."""

    def positions(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return super().positions(inputs) * 2


def test_a_family_that_decodes_otherwise_in_slots_is_refused_with_row_and_token() -> None:
    right = TINY["mistral"](0).backbone
    wrong = Misplaced(right.model, right.processor)

    with pytest.raises(UserMistake, match=r"family mistral .* row `.*` differs .* at token \d .*engine=static"):
        check_parity(wrong, tiny_bundle(right))
