"""The measured model, loaded once."""

import os

import pytest
import torch

from autosteer_core.backbones.base import Backbone

torch.set_num_threads(int(os.environ.get("BENCH_THREADS", os.cpu_count() or 1)))


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    """The demo model, unless BENCH_SHAPE names another shape."""
    from tests.bench.subjects import subject

    return subject()
