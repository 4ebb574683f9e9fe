"""The real model deserves every core that no other test process has; the rest of the suite runs with one thread."""

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def every_core() -> Iterator[None]:
    """Restored afterwards."""
    before = torch.get_num_threads()
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    yield
    torch.set_num_threads(before)
