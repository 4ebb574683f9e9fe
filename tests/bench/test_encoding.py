"""Pictures encoded ahead: items/s by number of processes, and how much of the model's waiting goes away."""

import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter

import pytest
from PIL import Image

from autosteer_core.activations import read_activations
from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.encoding import Encoder, InlineEncoder
from autosteer_core.errors import BadItem
from autosteer_core.values import Item
from pipelines.demo.model import demo_model_folder
from pipelines.load_model import load_encoder
from pipelines.settings import load_settings
from tests.bench.record import record
from tests.bench.workload import scaled
from workers.encoding_pool import EncodingPool

pytestmark = pytest.mark.demo

ITEMS, WARM, BATCH = 48, 8, 8


@contextmanager
def encoder(backbone: Backbone, processes: int) -> Iterator[Encoder]:
    """Inline with no process; otherwise the demo model's encoder in each, started and warm."""
    if processes == 0:
        yield InlineEncoder(backbone)
        return
    pool = EncodingPool(partial(load_encoder, str(demo_model_folder()), load_settings()), processes, 256 * 2**20)
    try:
        list(pool.encode(photographs(WARM * processes)))
        yield pool
    finally:
        pool.close()


def photographs(count: int) -> list[Item]:
    """JPEG files of 1,000 x 750 pixels with as much detail as a photograph."""
    items = []
    for row in range(count):
        grain = Image.effect_noise((250, 188), 40 + row % 20).resize((1000, 750))
        file = io.BytesIO()
        Image.merge("RGB", [grain, grain.rotate(90), grain.rotate(180)]).save(file, "JPEG", quality=90)
        items.append(Item(f"item-{row}", f"{row}: what is in the picture?", (file.getvalue(),)))
    return items


def nothing(prompts: list[Prompt]) -> None:
    """A model that takes no time."""


def consumed(source: Encoder, items: list[Item], model: Callable[[list[Prompt]], object]) -> tuple[float, float]:
    """Seconds in all, and those of them that the model waited for prompts."""
    waited, started = 0.0, perf_counter()
    stream = source.encode(items)
    while True:
        asked = perf_counter()
        batch = [prompt for _, prompt in itertools.islice(stream, BATCH) if not isinstance(prompt, BadItem)]
        waited += perf_counter() - asked
        if not batch:
            return perf_counter() - started, waited
        model(batch)


def test_pictures_encoded_in_processes(backbone: Backbone) -> None:
    items = photographs(scaled(ITEMS))
    depth = len(backbone.blocks)
    audits = {}
    # What the model's first pass costs belongs to none of them.
    consumed(InlineEncoder(backbone), items[:BATCH], lambda batch: read_activations(backbone, batch, [depth // 2]))
    for processes in (0, 1, 2):
        with encoder(backbone, processes) as source:
            seconds, _ = consumed(source, items, nothing)
            audits[processes] = consumed(source, items, lambda batch: read_activations(backbone, batch, [depth // 2]))
        rate = len(items) / seconds
        record(
            f"encoded_pictures_per_second_{processes}_processes", rate, "1,000 x 750 JPEG; 0: in the worker itself"
        )
    for processes in (1, 2):
        removed = 1 - audits[processes][1] / audits[0][1]
        record(
            f"model_wait_removed_by_{processes}_processes", removed, "share of the time an audit waits for pictures"
        )
        gain = audits[0][0] / audits[processes][0]
        record(f"audit_gain_with_{processes}_encoding_processes", gain, "pictures/s over encoding in the worker")
    assert audits[1][1] < audits[0][1]
