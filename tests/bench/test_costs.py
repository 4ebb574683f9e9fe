"""What the method adds to a step: the gate, the head and the probe, timed where they run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import pytest
import torch

from autosteer_core.backbones.base import Backbone
from autosteer_core.engine import EngineOptions
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.slots import admission, slot_decoder
from autosteer_core.steering_cost import steering_cost
from tests.bench.record import record
from tests.bench.subjects import ALWAYS, NEVER, random_bundle
from tests.bench.workload import lognormal, scaled, texts

WIDTH, VOCABULARY, RANK = 576, 49_152, 32


def test_the_hidden_space_head_against_the_papers_matrix_rebuilt_for_every_token() -> None:
    cost = steering_cost(RefusalHead.zero(WIDTH, RANK, 0.1, 0), VOCABULARY)

    record("steered_output_over_plain_output", cost.edited, "one token, d = 576, V = 49,152")
    record("papers_steered_output_over_plain_output", cost.rebuilt, "the same, E + eps E M anew")
    assert cost.edited < cost.rebuilt


class Stopwatch:
    """Seconds spent inside named functions; on a GPU the device is waited for on both sides."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def on(self, owner: Any, name: str) -> Iterator[None]:
        """Time every call of `owner.name`, as long as this lasts."""
        plain: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = now()
            try:
                result = plain(*args, **kwargs)
                return list(result) if isinstance(result, Iterator) else result
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + now() - started

        setattr(owner, name, timed)
        try:
            yield
        finally:
            setattr(owner, name, plain)


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter()


@pytest.mark.demo
@pytest.mark.parametrize(("name", "threshold"), [("closed", NEVER), ("open", ALWAYS)])
def test_gate_and_head_are_a_small_share_of_decoding(backbone: Backbone, name: str, threshold: float) -> None:
    items = lognormal(texts(scaled(64)), 64)
    engine = SlotEngine(backbone, random_bundle(backbone, threshold), EngineOptions(slots=32, max_new_tokens=64))
    watch, decoder = Stopwatch(), slot_decoder.SlotDecoder
    with watch.on(decoder, "_step"), watch.on(decoder, "_edits"), watch.on(RefusalHead, "steer"):
        engine.generate(items)

    added = watch.seconds["_edits"] + watch.seconds.get("steer", 0.0)
    record(f"gate_and_head_share_{name}", added / watch.seconds["_step"], "of decode time, 32 slots")


@pytest.mark.demo
def test_the_probe_is_a_small_share_of_prefill(backbone: Backbone) -> None:
    engine = SlotEngine(backbone, random_bundle(backbone, NEVER), EngineOptions(slots=32, max_new_tokens=1))
    watch = Stopwatch()
    with (
        watch.on(admission.Admission, "_read"),
        watch.on(admission, "_risk"),
        watch.on(admission.SitePool, "__call__"),
    ):
        engine.generate(texts(scaled(64)))

    probe = watch.seconds["_risk"] + watch.seconds["__call__"]
    record("probe_share_of_prefill", probe / watch.seconds["_read"], "pooling and probe")
