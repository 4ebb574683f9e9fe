"""A tiny bundle whose second look opens some of the rows that the first gate leaves closed."""

from dataclasses import replace
from functools import cache

from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.bundle import Bundle
from autosteer_core.engine import EngineOptions
from autosteer_core.probe import Probe
from autosteer_core.second_look import SecondLook
from autosteer_core.static_engine import StaticEngine
from tests.tiny_bundle import tiny_bundle
from tests.tiny_items import mixed_items

ITEMS = mixed_items(12)
EVERY = 2


@cache
def middle_risk(backbone: LlavaOnevision) -> float:
    """Half of the items lie above it."""
    risks = sorted(row.risk for row in StaticEngine(backbone, tiny_bundle(backbone), EngineOptions()).audit(ITEMS))
    return (risks[5] + risks[6]) / 2


def look_bundle(backbone: LlavaOnevision, look_threshold: float) -> Bundle:
    """The first gate opens on half of the items, the second look reads with a probe of its own."""
    first = tiny_bundle(backbone, middle_risk(backbone))
    probe = Probe(**{name: tensor.clone() for name, tensor in first.probe.tensors().items()})
    probe = replace(probe, outer_weight=-probe.outer_weight)
    return replace(first, second_look=SecondLook(probe, look_threshold, EVERY))
