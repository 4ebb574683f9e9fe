"""The engines, and a random model for them."""

from typing import Any

import pytest

from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.static_engine import StaticEngine


@pytest.fixture(params=[StaticEngine, SlotEngine])
def build(request: pytest.FixtureRequest) -> Any:
    """An engine's class."""
    return request.param


@pytest.fixture(scope="module")
def backbone() -> LlavaOnevision:
    """Four blocks of width 32."""
    from tests.tiny_model import tiny_llava_onevision

    return tiny_llava_onevision()
