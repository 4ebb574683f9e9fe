"""What every engine owes its callers while answers grow: late gates, counted readings, withdrawn answers."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.decoding import Extras, decode
from autosteer_core.engine import EngineOptions
from autosteer_core.second_look import looking
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import Action, GateAction, Item, Verdict
from tests.tiny_look import EVERY, ITEMS, look_bundle

Build = Any  # an engine's class

OPTIONS = EngineOptions(batch_rows=12, max_new_tokens=9, band=0.0, slots=3)


@pytest.fixture(scope="module")
def threshold(backbone: LlavaOnevision) -> float:
    """Half of the closed rows have a reading above it."""
    look = look_bundle(backbone, 0.5)
    rows = StaticEngine(backbone, look, replace(OPTIONS, second_look=False)).generate(ITEMS)
    closed = [backbone.encode(item) for item, row in zip(ITEMS, rows, strict=True) if not row.gate_open]
    assert look.second_look is not None
    answers = decode(backbone, closed, 9, extras=Extras(looking(backbone, look.layers, look.second_look)))
    highest = sorted(max(answer.risks) for answer in answers if answer.risks)
    return (highest[2] + highest[3]) / 2


def run(
    build: Build,
    backbone: LlavaOnevision,
    threshold: float,
    options: EngineOptions = OPTIONS,
    items: list[Item] = ITEMS,
) -> list[Verdict]:
    return build(backbone, look_bundle(backbone, threshold), options).generate(items)


def test_an_answer_is_withdrawn_and_given_again_with_an_open_gate(
    build: Build, backbone: LlavaOnevision, threshold: float
) -> None:
    rows = run(build, backbone, threshold)

    without = run(build, backbone, threshold, replace(OPTIONS, second_look=False))
    always = run(build, backbone, threshold, replace(OPTIONS, compare=True))
    late = [place for place, row in enumerate(rows) if row.opened_after is not None]
    assert len(late) == 3
    for place, (row, before) in enumerate(zip(rows, without, strict=True)):
        if place not in late:
            assert (row.action, row.answer) == (before.action, before.answer)
            continue
        assert (before.action, before.gate_open, before.steered_tokens) == (Action.ANSWER, False, 0)
        assert (row.action, row.gate_open) == (Action.REFUSE, True)
        assert row.opened_after is not None and row.opened_after % EVERY == 0
        assert row.risk < (row.threshold or 0)
        assert row.steered_tokens > 0
        assert row.answer == always[place].compared["always"] != before.answer
        assert always[place].compared["unsteered"] == before.answer


def test_every_reading_is_counted_and_open_rows_are_not_looked_at_again(
    build: Build, backbone: LlavaOnevision, threshold: float
) -> None:
    rows = run(build, backbone, threshold)

    opened_first = [row for row in rows if row.gate_open and row.opened_after is None]
    assert {row.gate_evaluations for row in opened_first} == {1}
    for row in rows:
        if row.opened_after is not None:  # an engine may stop a row at the reading that opens it
            assert 1 + row.opened_after // EVERY <= row.gate_evaluations <= 1 + 4
        elif row not in opened_first:
            assert row.gate_evaluations == 1 + 4


def test_a_row_is_opened_in_a_batch_exactly_when_it_is_opened_alone(
    build: Build, backbone: LlavaOnevision, threshold: float
) -> None:
    together = run(build, backbone, threshold)

    alone = [run(build, backbone, threshold, items=[item])[0] for item in ITEMS]
    assert [(row.opened_after, row.answer, row.gate_evaluations) for row in together] == [
        (row.opened_after, row.answer, row.gate_evaluations) for row in alone
    ]


def test_a_reading_at_the_threshold_is_read_again_alone_and_marked(
    build: Build, backbone: LlavaOnevision, threshold: float
) -> None:
    rows = run(build, backbone, threshold, replace(OPTIONS, band=1.0))

    assert {row.borderline for row in rows} == {True}
    assert {row.gate_evaluations for row in rows} >= {2, 2 + 8}
    assert [row.opened_after for row in rows] == [row.opened_after for row in run(build, backbone, threshold)]


def test_a_reading_that_is_nan_opens_the_gate(build: Build, backbone: LlavaOnevision) -> None:
    broken = look_bundle(backbone, 1.0)
    assert broken.second_look is not None
    probe = replace(broken.second_look.probe, outer_bias=torch.tensor(math.nan))
    broken = replace(broken, second_look=replace(broken.second_look, probe=probe))

    rows = build(backbone, broken, OPTIONS).generate(ITEMS)

    assert {row.action for row in rows} == {Action.REFUSE}
    assert {row.opened_after for row in rows} == {None, EVERY}


@pytest.mark.parametrize("action", [GateAction.CANNED, GateAction.PREFIX])
def test_a_late_gate_does_what_the_bundle_says(
    build: Build, backbone: LlavaOnevision, threshold: float, action: GateAction
) -> None:
    rows = run(build, backbone, threshold, replace(OPTIONS, gate_action=action))

    steered = run(build, backbone, threshold)
    assert [row.opened_after for row in rows] == [row.opened_after for row in steered]
    assert all((row.answer or "").startswith("Sorry, I can't.") for row in rows if row.gate_open)


def test_a_bundle_without_a_second_look_reads_nothing(build: Build, backbone: LlavaOnevision) -> None:
    plain = replace(look_bundle(backbone, 0.0), second_look=None)

    rows = build(backbone, plain, OPTIONS).generate(ITEMS)

    assert {row.gate_evaluations for row in rows} == {1}
