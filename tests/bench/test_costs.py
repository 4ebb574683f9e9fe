"""What the method costs, as ratios within one run; `make bench` prints them and writes results/costs.json."""

import json
from pathlib import Path

import pytest

from autosteer_core.refusal_head import RefusalHead
from autosteer_core.steering_cost import seconds, steering_cost

RESULTS = Path(__file__).parent / "results" / "costs.json"
WIDTH, VOCABULARY, RANK = 576, 49_152, 32


def record(name: str, value: float) -> None:
    """Add to the file and say it."""
    RESULTS.parent.mkdir(exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(known | {name: round(value, 4)}, indent=1, sort_keys=True) + "\n")
    print(f"{name}: {value:.4g}")


def test_the_hidden_space_head_against_the_papers_matrix_rebuilt_for_every_token() -> None:
    cost = steering_cost(RefusalHead.zero(WIDTH, RANK, 0.1, 0), VOCABULARY)

    record("steered_output_over_plain_output", cost.edited)
    record("papers_steered_output_over_plain_output", cost.rebuilt)
    assert cost.edited < cost.rebuilt


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
