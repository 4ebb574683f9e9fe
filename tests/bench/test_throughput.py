"""Useful tokens a second on the same items and weights: slots, padded batches, continuous batching, one at a time."""

from time import perf_counter

import pytest
import torch

from autosteer_core.backbones.base import Backbone
from autosteer_core.engine import Engine, EngineOptions
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import Item
from tests.bench.contenders import continuous_batching, released_form
from tests.bench.record import record
from tests.bench.subjects import ALWAYS, NEVER, random_bundle
from tests.bench.workload import lognormal, scaled, texts, useful_tokens

pytestmark = pytest.mark.demo

ROWS = 32
RELEASED_TOKENS = 16


def options(cap: int) -> EngineOptions:
    return EngineOptions(batch_rows=ROWS, slots=ROWS, max_new_tokens=cap)


def rate(engine: Engine, items: list[Item]) -> float:
    """Useful tokens a second, prefill and gate included."""
    started = perf_counter()
    verdicts = engine.generate(items)
    taken = perf_counter() - started
    assert all(verdict.answer is not None for verdict in verdicts)
    return useful_tokens(items) / taken


@pytest.mark.parametrize("cap", [256, 1024])
def test_slots_against_padded_batches_and_continuous_batching(backbone: Backbone, cap: int) -> None:
    items = lognormal(texts(scaled(128 if cap == 256 else 96)), cap)
    closed = random_bundle(backbone, NEVER)
    continuous_batching(backbone, items[:2], ROWS)  # what it does once for all requests is not its rate

    slots = rate(SlotEngine(backbone, closed, options(cap)), items)
    static = rate(StaticEngine(backbone, closed, options(cap)), items)
    seconds, _ = continuous_batching(backbone, items, ROWS)
    continuous = useful_tokens(items) / seconds

    record(f"slots_tokens_per_second_cap_{cap}", slots, f"{len(items)} text items, gates closed, {ROWS} slots")
    record(f"slots_over_padded_batches_cap_{cap}", slots / static, f"same items, batches of {ROWS}")
    record(f"slots_over_continuous_batching_cap_{cap}", slots / continuous, "same items, Transformers' own")
    if torch.cuda.is_available():
        record(
            f"bandwidth_share_cap_{cap}",
            bandwidth_share(backbone, slots),
            "weights read once a step, of the card's limit",
        )
    assert slots > static


def test_slots_with_every_gate_open(backbone: Backbone) -> None:
    items = lognormal(texts(scaled(64)), 256)
    closed, opened = (SlotEngine(backbone, random_bundle(backbone, at), options(256)) for at in (NEVER, ALWAYS))

    before, steered, after = rate(closed, items), rate(opened, items), rate(closed, items)

    record("open_over_closed_rate", steered / ((before + after) / 2), "tokens/s with all gates open, of all closed")


def test_slots_against_the_released_way(backbone: Backbone) -> None:
    bundle = random_bundle(backbone, ALWAYS)
    rows = texts(scaled(4))
    released = (
        len(rows)
        * RELEASED_TOKENS
        / sum(released_form(backbone, item, bundle.head, RELEASED_TOKENS) for item in rows)
    )
    items = lognormal(texts(scaled(64)), 256)

    ours = rate(SlotEngine(backbone, bundle, options(256)), items)

    record(
        "slots_over_released_form",
        ours / released,
        "tokens/s, all gates open; theirs at batch 1, E + eps E M a token",
    )
    assert ours > released


def bandwidth_share(backbone: Backbone, tokens_per_second: float) -> float:
    """Bytes of weights a step must read, times steps a second, over what the card can copy."""
    weights = sum(
        weight.numel() * weight.element_size() for block in backbone.blocks for weight in block.parameters()
    )
    weights += backbone.head.weight.numel() * backbone.head.weight.element_size()
    return weights * tokens_per_second / ROWS / copy_bandwidth()


def copy_bandwidth() -> float:
    """Bytes a second that a large copy reads and writes on this card, measured."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    started = perf_counter()
    for _ in range(10):
        target.copy_(source)
    torch.cuda.synchronize()
    return 20 * source.numel() / (perf_counter() - started)
