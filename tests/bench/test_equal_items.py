"""What is not computed twice: equal items, and pictures that several items are about."""

import os
from dataclasses import replace
from random import Random
from time import perf_counter
from typing import Any

import pytest

from autosteer_core.backbones.base import Backbone
from autosteer_core.engine import Engine, EngineOptions
from autosteer_core.equal_items import EqualItems
from autosteer_core.picture_features import PictureFeatures
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import Item
from tests.bench.record import record
from tests.bench.subjects import NEVER, random_bundle
from tests.bench.workload import scaled, texts
from tests.pictures import noise

pytestmark = pytest.mark.demo

ROWS, PICTURES, TOKENS = 64, 8, 16


def test_equal_items_are_computed_once(backbone: Backbone) -> None:
    halves = texts(scaled(ROWS) // 2)
    items = [*halves, *(replace(item, item_id=f"{item.item_id}-again") for item in halves)]
    Random(0).shuffle(items)
    bundle = random_bundle(backbone, NEVER)
    engine = SlotEngine(backbone, bundle, EngineOptions(slots=32, max_new_tokens=TOKENS))
    engine.generate(texts(2, seed=1))  # what runs once for all items is no item's cost

    each, _ = generated(engine, items)
    once, answers = generated(EqualItems(engine, bundle.refusal_for), items)
    again, wanted = generated(engine, items)

    record("equal_items_gain_half_equal", (each + again) / 2 / once, f"rows/s, {TOKENS} tokens each; 2 is ideal")
    assert answers == wanted
    assert once < max(each, again)


@pytest.mark.skipif(os.environ.get("BENCH_SHAPE", "demo") != "demo", reason="other shapes are measured on texts only")
@pytest.mark.parametrize(("name", "pictures"), [("8_pictures", PICTURES), ("no_picture_twice", ROWS)])
def test_a_picture_is_seen_once(backbone: Any, name: str, pictures: int) -> None:
    questions = texts(scaled(ROWS))
    shown = [noise(seed) for seed in range(pictures)]
    items = [replace(item, images=(shown[row % pictures],)) for row, item in enumerate(questions)]
    engine = StaticEngine(backbone, random_bundle(backbone, NEVER), EngineOptions())
    engine.audit(items[:2])

    anew, _ = audited(backbone, engine, items, PictureFeatures(None))
    once, risks = audited(backbone, engine, items, PictureFeatures(backbone.tower))
    again, wanted = audited(backbone, engine, items, PictureFeatures(None))

    record(
        f"picture_features_gain_{name}", (anew + again) / 2 / once, f"audit at half depth, rows/s, {len(items)} items"
    )
    assert risks == pytest.approx(wanted, abs=1e-4)


def generated(engine: Engine, items: list[Item]) -> tuple[float, list[str | None]]:
    """Seconds, and the answers."""
    started = perf_counter()
    verdicts = engine.generate(items)
    return perf_counter() - started, [verdict.answer for verdict in verdicts]


def audited(backbone: Any, engine: Engine, items: list[Item], features: PictureFeatures) -> tuple[float, list[float]]:
    """Seconds with this memory of pictures, and the risks."""
    backbone.features = features
    started = perf_counter()
    verdicts = engine.audit(items)
    return perf_counter() - started, [verdict.risk for verdict in verdicts]
