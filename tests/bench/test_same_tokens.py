"""Speed changes no token: slots against plain `generate` of each row alone, also with two bundles in flight."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from autosteer_core.activations import read_sites
from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import decode
from autosteer_core.engine import EngineOptions
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.values import Item, Verdict
from tests.bench.record import record
from tests.bench.subjects import random_bundle
from tests.bench.workload import mixed, scaled

pytestmark = pytest.mark.demo

TOKENS = 24


def halving(backbone: Backbone, items: Sequence[Item], seed: int) -> Bundle:
    """A bundle whose gate opens on about half of the items."""
    bundle = random_bundle(backbone, 0.5, seed)
    prompts = [backbone.encode(item) for item in items]
    risk_N = bundle.probe.risk(read_sites(backbone, prompts, bundle.sites))
    return replace(bundle, guarantee=replace(bundle.guarantee, threshold=float(risk_N.median())))


def alone(backbone: Backbone, item: Item, bundle: Bundle, verdict: Verdict) -> str:
    """What `generate` answers to this row at batch 1 under its bundle and gate."""
    gate_N = torch.tensor([bool(verdict.gate_open)])
    return decode(backbone, [backbone.encode(item)], TOKENS, bundle.head, gate_N)[0].text


def test_mixed_items_in_slots_are_answered_as_alone(backbone: Backbone) -> None:
    items = mixed(scaled(204))
    bundle = halving(backbone, items[:48], 0)

    verdicts = SlotEngine(backbone, bundle, EngineOptions(slots=32, max_new_tokens=TOKENS)).generate(items)
    equal = sum(
        verdict.answer == alone(backbone, item, bundle, verdict)
        for item, verdict in zip(items, verdicts, strict=True)
    )

    opened = sum(verdict.gate_open is True for verdict in verdicts)
    record("rows_equal_to_batch_1", equal, f"of {len(items)}: text, picture, both; {opened} steered")
    assert 0 < opened < len(items)
    assert equal == len(items)


def test_two_bundles_in_flight_keep_to_their_own_rows(backbone: Backbone) -> None:
    items = mixed(scaled(204), seed=1)
    pair = [halving(backbone, items[:48], seed) for seed in (1, 2)]
    bundles = [pair[row % 2] for row in range(len(items))]
    engine = SlotEngine(backbone, pair[0], EngineOptions(slots=32, max_new_tokens=TOKENS))

    verdicts = engine.generate_under(items, bundles)
    equal = sum(
        verdict.answer == alone(backbone, item, bundle, verdict)
        for item, bundle, verdict in zip(items, bundles, verdicts, strict=True)
    )

    record("mixed_bundle_rows_equal_to_batch_1", equal, f"of {len(items)}, two bundles in flight")
    assert equal == len(items)
