"""A run does not grow: resident memory over thousands of items."""

import gc

import numpy as np
import psutil
import pytest

from autosteer_core.backbones.base import Backbone
from autosteer_core.engine import EngineOptions
from autosteer_core.slot_engine import SlotEngine
from tests.bench.record import record
from tests.bench.subjects import random_bundle
from tests.bench.workload import lognormal, mixed, scaled

pytestmark = [pytest.mark.demo, pytest.mark.timeout(3600)]

ITEMS, CHUNK, WARM = 5000, 100, 1000


def test_resident_memory_does_not_grow_over_a_long_run(backbone: Backbone) -> None:
    engine = SlotEngine(backbone, random_bundle(backbone, 0.5), EngineOptions(slots=32, max_new_tokens=8))
    items = lognormal(mixed(scaled(ITEMS)), 8)
    seen: list[tuple[int, float]] = []
    for start in range(0, len(items), CHUNK):
        engine.generate(items[start : start + CHUNK])
        gc.collect()
        seen.append((start + CHUNK, psutil.Process().memory_info().rss / 2**20))
    rows_N, megabytes_N = np.array([point for point in seen if point[0] >= WARM * len(items) / ITEMS]).T

    slope = 1000 * np.polyfit(rows_N, megabytes_N, 1)[0]

    record("megabytes_per_1000_items", float(slope), f"slope of resident memory over {len(items)} items")
    assert slope < 1
