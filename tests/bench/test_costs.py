"""What the method costs, as ratios within one run; `make bench` prints them and writes results/costs.json."""

import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pytest
import torch

from autosteer_core.refusal_head import RefusalHead

RESULTS = Path(__file__).parent / "results" / "costs.json"
WIDTH, VOCABULARY, RANK = 576, 49_152, 32


def seconds(act: Callable[[], object], repeats: int) -> float:
    """The median, so that one interruption does not count."""
    taken = []
    for _ in range(repeats):
        started = perf_counter()
        act()
        taken.append(perf_counter() - started)
    return sorted(taken)[repeats // 2]


def record(name: str, value: float) -> None:
    """Add to the file and say it."""
    RESULTS.parent.mkdir(exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(known | {name: round(value, 4)}, indent=1, sort_keys=True) + "\n")
    print(f"{name}: {value:.4g}")


def test_the_hidden_space_head_against_the_papers_matrix_rebuilt_for_every_token() -> None:
    embedding, hidden = torch.randn(VOCABULARY, WIDTH), torch.randn(1, 1, WIDTH)
    matrix = torch.randn(WIDTH, WIDTH)
    head, gate = RefusalHead.zero(WIDTH, RANK, 0.1, 0), torch.tensor([True])

    plain = seconds(lambda: hidden @ embedding.T, 15)
    ours = seconds(lambda: head.steer(hidden, gate) @ embedding.T, 15)
    papers = seconds(lambda: hidden @ (embedding + 0.1 * embedding @ matrix).T, 5)

    record("steered_output_over_plain_output", ours / plain)
    record("papers_steered_output_over_plain_output", papers / plain)
    assert ours < papers


@pytest.mark.demo
def test_an_audit_against_generation_of_the_same_rows() -> None:
    from autosteer_core.activations import read_activations
    from autosteer_core.decoding import decode
    from autosteer_core.values import Item
    from pipelines.settings import load_settings
    from pipelines.wiring import load_backbone

    backbone = load_backbone(load_settings())
    prompts = [backbone.encode(Item(str(row), f"Tell me {row} facts about the sea.")) for row in range(16)]
    depth = len(backbone.blocks)

    full = seconds(lambda: read_activations(backbone, prompts, [depth]), 3)
    half = seconds(lambda: read_activations(backbone, prompts, [depth // 2]), 3)
    generated = seconds(lambda: decode(backbone, prompts, 32), 3)

    record("audit_at_half_depth_over_full_depth", half / full)
    record("audit_at_full_depth_over_generation_of_32_tokens", full / generated)
    assert half < full < generated
