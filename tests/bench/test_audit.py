"""An audit stops at the probe layer: against the full depth, and the released code's way to the same score."""

import statistics
from time import perf_counter

import pytest

from autosteer_core.activations import read_activations
from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.decoding import decode
from autosteer_core.steering_cost import seconds
from tests.bench.record import record
from tests.bench.workload import scaled, texts

pytestmark = pytest.mark.demo

ROWS, RELEASED_ROWS, RELEASED_TOKENS = 64, 6, 32


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_an_audit_costs_its_share_of_the_depth(backbone: Backbone, share: float) -> None:
    prompts = [backbone.encode(item) for item in texts(scaled(ROWS))]
    depth = len(backbone.blocks)
    layer = round(depth * share)
    # In turn, so that a busy moment hits both.
    pairs = [(_read(backbone, prompts, depth), _read(backbone, prompts, layer)) for _ in range(5)]
    gain = statistics.median(full / part for full, part in pairs)

    record(
        f"audit_gain_at_layer_{layer}_of_{depth}", gain, f"rows/s over the full depth; {depth / layer:.2f} is ideal"
    )
    assert gain > 1


def test_an_audit_against_the_released_way(backbone: Backbone) -> None:
    prompts = [backbone.encode(item) for item in texts(scaled(ROWS))]
    audited = _read(backbone, prompts, len(backbone.blocks) // 2) / len(prompts)
    started = perf_counter()
    for prompt in prompts[:RELEASED_ROWS]:
        decode(backbone, [prompt], RELEASED_TOKENS)
    released = (perf_counter() - started) / RELEASED_ROWS

    record(
        "audit_over_released_way", released / audited, f"rows/s, half depth; theirs alone, {RELEASED_TOKENS} tokens"
    )
    assert released > audited


def _read(backbone: Backbone, prompts: list[Prompt], layer: int) -> float:
    return seconds(lambda: read_activations(backbone, prompts, [layer]), 1)
