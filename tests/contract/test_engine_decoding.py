"""Stop strings and log probabilities, through every engine."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.decoding import Answer, decode
from autosteer_core.engine import EngineOptions
from autosteer_core.values import GateAction
from tests.tiny_bundle import tiny_bundle
from tests.tiny_items import mixed_items
from tests.tiny_look import look_bundle

Build = Any  # an engine's class

ITEMS = mixed_items(12)
OPTIONS = EngineOptions(batch_rows=12, max_new_tokens=10, slots=3)


@pytest.fixture(scope="module")
def whole(backbone: LlavaOnevision) -> dict[bool, list[Answer]]:
    """Answers that nothing stops, by gate."""
    prompts, head = [backbone.encode(item) for item in ITEMS], tiny_bundle(backbone).head
    return {gate: decode(backbone, prompts, 10, head, torch.tensor([gate] * 12)) for gate in (False, True)}


def strings_within(answers: list[Answer]) -> tuple[str, ...]:
    """Two characters from inside each of a few answers."""
    inner = [answer.text[2:4] for answer in answers if "\ufffd" not in answer.text[2:4]]
    return tuple(string for string in inner if string.strip())[:3]


def ended(backbone: LlavaOnevision, answer: Answer, strings: tuple[str, ...]) -> tuple[str, str]:
    """Text and reason, from decoding the whole answer after every token."""
    for count in range(1, len(answer.ids) + 1):
        text = backbone.tokenizer.decode(answer.ids[:count], skip_special_tokens=True)
        if any(string in text for string in strings):
            return text[: min(text.index(each) for each in strings if each in text)].strip(), "stop"
    return answer.text, answer.finish_reason


@pytest.mark.parametrize("gate", [False, True])
def test_an_answer_ends_before_the_first_stop_string(
    build: Build, backbone: LlavaOnevision, whole: dict[bool, list[Answer]], gate: bool
) -> None:
    strings = strings_within(whole[gate])
    bundle = tiny_bundle(backbone, 0.0 if gate else 1.0)

    rows = build(backbone, bundle, replace(OPTIONS, stop=strings)).generate(ITEMS)

    assert [(row.answer, row.finish_reason) for row in rows] == [
        ended(backbone, answer, strings) for answer in whole[gate]
    ]
    assert [row.answer for row in rows] != [answer.text for answer in whole[gate]]
    assert all((row.steered_tokens > 0) is gate for row in rows)


def test_answers_that_begin_with_a_stop_string_are_empty_and_still_answers(
    build: Build, backbone: LlavaOnevision, whole: dict[bool, list[Answer]]
) -> None:
    first = tuple({backbone.tokenizer.decode(answer.ids, skip_special_tokens=True)[:1] for answer in whole[False]})

    rows = build(backbone, tiny_bundle(backbone, 1.0), replace(OPTIONS, stop=first, logprobs=True)).generate(ITEMS)

    assert {(row.answer, row.finish_reason, row.action) for row in rows} == {("", "stop", "answer")}
    assert {len(row.logprobs) for row in rows if row.logprobs is not None} <= {0, 1, 2, 3}


def test_a_fixed_refusal_is_not_cut(build: Build, backbone: LlavaOnevision) -> None:
    options = replace(OPTIONS, stop=("Sorry",), gate_action=GateAction.CANNED)

    rows = build(backbone, tiny_bundle(backbone, 0.0), options).generate(ITEMS[:3])

    assert [row.answer for row in rows] == ["Sorry, I can't."] * 3


def test_an_answer_that_a_stop_string_ends_was_read_by_the_second_look_as_often_as_it_should(
    build: Build, backbone: LlavaOnevision, whole: dict[bool, list[Answer]]
) -> None:
    bundle, strings = look_bundle(backbone, 1.0), strings_within(whole[False])

    rows = build(backbone, bundle, replace(OPTIONS, stop=strings)).generate(ITEMS)

    unread = build(backbone, bundle, replace(OPTIONS, stop=strings, second_look=False)).generate(ITEMS)
    assert [row.answer for row in rows if not row.gate_open] == [
        other.answer for row, other in zip(rows, unread, strict=True) if not row.gate_open
    ]
    assert any(row.finish_reason == "stop" and row.gate_evaluations > 1 for row in rows)


def test_log_probabilities_are_written_where_asked_for_and_change_no_answer(
    build: Build, backbone: LlavaOnevision
) -> None:
    bundle = tiny_bundle(backbone)

    told = build(backbone, bundle, replace(OPTIONS, logprobs=True)).generate(ITEMS)

    plain = build(backbone, bundle, OPTIONS).generate(ITEMS)
    assert [replace(row, logprobs=None) for row in told] == plain
    assert all(row.logprobs and all(-50 < each <= 0 for each in row.logprobs) for row in told)
