"""Batches within a budget, and what is remembered where memory ran out."""

from collections import deque
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autosteer_core.backbones.chat_prompt import ChatPrompt
from autosteer_core.budget import Budget, in_batches, load_of
from autosteer_core.errors import BadItem


def prompt(tokens: int, pictures: int = 0, side: int = 2) -> ChatPrompt:
    shown = {"pixel_values": torch.zeros(pictures, 3, side, side)} if pictures else {}
    return ChatPrompt([1] * tokens, shown)


PROMPTS = st.lists(st.builds(prompt, st.integers(1, 40), st.integers(0, 3), st.integers(1, 6)), max_size=30)


@given(PROMPTS, st.integers(1, 200), st.integers(1, 300))
def test_batches_keep_order_and_budget_and_are_as_large_as_it_allows(
    prompts: list[ChatPrompt], tokens: int, pixels: int
) -> None:
    budget = Budget(tokens, pixels)

    batches = [batch for batch, _ in in_batches(budget, prompts, lambda row: row, len)]

    assert [row for batch in batches for row in batch] == prompts
    within = [load_of(batch).tokens <= tokens and load_of(batch).pixels <= pixels for batch in batches]
    assert all(fits or len(batch) == 1 for fits, batch in zip(within, batches, strict=True))
    for batch, following in pairwise(batches):
        more = load_of([*batch, following[0]])
        assert more.tokens > tokens or more.pixels > pixels


@given(PROMPTS, st.integers(1, 200), st.integers(1, 300))
def test_no_row_is_lost_where_memory_runs_out_and_only_what_fits_no_batch_is_bad(
    prompts: list[ChatPrompt], tokens: int, pixels: int
) -> None:
    def work(batch: list[ChatPrompt]) -> list[int]:
        load = load_of(batch)
        if load.tokens > tokens or load.pixels > pixels:
            raise torch.OutOfMemoryError
        return [len(row.ids) for row in batch]

    done = list(in_batches(Budget(), prompts, lambda row: row, work))

    assert [row for batch, _ in done for row in batch] == prompts
    for batch, made in done:
        load = load_of(batch)
        if isinstance(made, BadItem):
            assert len(batch) == 1
            assert load.tokens > tokens or load.pixels > pixels
        else:
            assert made == [len(row.ids) for row in batch]


def test_tokens_count_padding_and_pixels_count_every_tile() -> None:
    load = load_of([prompt(3), prompt(10, 2, 4), prompt(5, 1, 2)])

    assert (load.tokens, load.pixels) == (30, 3 * 16)


@pytest.mark.parametrize(
    ("batch", "left"),
    [([prompt(100)] * 4, (200, 1000)), ([prompt(10, 1, 15)] * 4, (1000, 450)), ([prompt(10)] * 200, (1000, 1000))],
    ids=["texts", "pictures", "as large as the budget"],
)
def test_the_fuller_half_of_the_budget_is_halved(batch: list[ChatPrompt], left: tuple[int, int]) -> None:
    budget = Budget(1000, 1000)

    budget.shrink(batch)

    assert (budget.tokens, budget.pixels) == left


def test_a_batch_has_no_more_rows_than_are_asked_for() -> None:
    waiting = deque([prompt(1)] * 5)

    assert len(Budget().take(waiting, lambda row: row, 3)) == 3
    assert len(waiting) == 2
