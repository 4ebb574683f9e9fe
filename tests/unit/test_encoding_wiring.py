"""When a worker gets encoding processes, and that they are no part of what a run is."""

from dataclasses import replace
from typing import Any

import pytest

from infra.column_map import ColumnMap
from pipelines.engines import engine_options
from pipelines.job import Job
from pipelines.settings import Settings
from workers.encoding_pool import EncodingPool


@pytest.mark.parametrize(
    ("chosen", "processes"),
    [
        ({}, 0),
        ({"device": "cuda"}, 2),
        ({"device_map": "auto"}, 2),
        ({"encoding_processes": 1}, 1),
        ({"device": "cuda", "encoding_processes": 0}, 0),
    ],
)
def test_processes_run_beside_a_gpu_or_where_they_are_asked_for(chosen: dict[str, Any], processes: int) -> None:
    encoder = engine_options(Settings(model="folder", **chosen), compare=False).encoder

    if not isinstance(encoder, EncodingPool):
        assert processes == 0 and encoder is None
        return
    pids = encoder.pids
    encoder.close()
    assert len(pids) == processes


def test_a_run_continues_with_other_encoding_processes() -> None:
    job = Job("generate", "items.jsonl", "out", Settings(), ColumnMap(), False, {}, 1)
    other = Settings(encoding_processes=3, encoding_megabytes=7)

    assert replace(job, settings=other).answer_settings == job.answer_settings
