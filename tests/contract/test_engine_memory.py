"""Short memory costs speed, not rows: every engine goes on with smaller batches and remembers it."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.budget import Budget
from autosteer_core.engine import EngineOptions
from autosteer_core.values import Action, Item, Verdict
from tests.small_memory import SmallMemory
from tests.tiny_bundle import tiny_bundle
from tests.tiny_items import mixed_items

Build = Any  # an engine's class

ITEMS = mixed_items(16)
HUGE = Item("huge", "cake home " * 300, row=16)
BYTES = 55_000  # less than the 16 prompts need in one pass, more than any of them needs by itself


def engine(build: Build, backbone: LlavaOnevision, tokens: int = 4) -> Any:
    options = EngineOptions(max_new_tokens=tokens, slots=8, budget=Budget())
    return build(backbone, tiny_bundle(backbone), options)


def without_rounding(rows: list[Verdict]) -> list[Verdict]:
    """Batch shapes round differently."""
    return [replace(row, risk=round(row.risk, 4)) for row in rows]


@pytest.mark.parametrize("kind", ["generate", "audit"])
def test_short_memory_gives_the_rows_of_plenty_in_their_order(
    build: Build, kind: str, backbone: LlavaOnevision
) -> None:
    plenty = getattr(engine(build, backbone), kind)(ITEMS)

    with SmallMemory(BYTES) as memory:
        short = getattr(engine(build, backbone), kind)(ITEMS)

    assert memory.refused > 0
    assert without_rounding(short) == without_rounding(plenty)


@pytest.mark.parametrize("kind", ["generate", "audit"])
def test_what_memory_holds_is_found_out_once_and_said_with_the_setting_to_change(
    build: Build, kind: str, backbone: LlavaOnevision, caplog: pytest.LogCaptureFixture
) -> None:
    tried = engine(build, backbone)

    with SmallMemory(BYTES) as memory, caplog.at_level(logging.WARNING):
        getattr(tried, kind)(ITEMS)
        first = memory.refused
        getattr(tried, kind)(ITEMS)

    assert memory.refused == first
    assert 0 < len(caplog.messages) <= first  # what did not fit beside rows in flight is only put back
    assert all("out of memory" in text and "lower " in text for text in caplog.messages)


@pytest.mark.parametrize("kind", ["generate", "audit"])
def test_a_row_too_large_by_itself_is_an_error_row_and_costs_no_other(
    build: Build, kind: str, backbone: LlavaOnevision
) -> None:
    plenty = getattr(engine(build, backbone), kind)(ITEMS)

    with SmallMemory(BYTES):
        *others, huge = getattr(engine(build, backbone), kind)([*ITEMS, HUGE])

    assert huge.action is Action.ERROR
    assert huge.answer is None
    assert huge.flaw is not None and huge.flaw.code == "E_OUT_OF_MEMORY" and "shorten it" in huge.flaw.message
    assert without_rounding(others) == without_rounding(plenty)


def test_a_row_that_fits_until_its_answer_grows_is_an_error_row_and_costs_no_other(
    build: Build, backbone: LlavaOnevision
) -> None:
    texts = [replace(item, max_new_tokens=4) for item in ITEMS if not item.images][:3]
    growing = replace(HUGE, text="hm")
    plenty = engine(build, backbone).generate(texts)

    with SmallMemory(8_000):
        *others, last = engine(build, backbone, tokens=120).generate([*texts, growing])

    assert last.action is Action.ERROR
    assert last.answer is None
    assert last.flaw is not None and last.flaw.code == "E_OUT_OF_MEMORY"
    assert without_rounding(others) == without_rounding(plenty)
