"""A driver as `autosteer generate` is one, that follows a registry on a Ray of its own."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from autosteer_core.ports import PartQueue
from infra.column_map import ColumnMap
from pipelines import batch_run
from pipelines.batch_run import Request, run_batch
from pipelines.job import Job
from pipelines.settings import load_settings
from pipelines.wiring import build_worker
from tests.loop.swap_notes import Gaps, maybe_die, noted_shelf, noted_swapper
from workers import swap_thread
from workers.bundle_shelf import BundleShelf
from workers.lifeline import Lifeline
from workers.loop import PartWorker
from workers.swapping import Swapper


class NotedSwapper(Swapper):
    """May be told to die."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        noted_swapper(self)

    def look(self) -> bool:
        maybe_die("look")
        return super().look()


def main(root: Path, out: str) -> None:
    """Do, or continue, the run over `items.parquet`, until it is finished or interrupted."""
    settings = load_settings(
        model=str(root / "model"), registry=str(root / "registry"), rows_per_part=8, max_new_tokens=4,
        lease_seconds=20, workers=2, slots=8,
    )  # fmt: skip
    batch_run.build_worker = noted_worker
    swap_thread.Swapper = NotedSwapper  # type: ignore[misc]
    request = Request("generate", str(root / "items.parquet"), str(root / out), settings, ColumnMap())
    with suppress(KeyboardInterrupt):
        run_batch(request, lambda run, rows, counts: None)


def noted_worker(job: Job, name: str, queue: PartQueue) -> PartWorker:
    """In a worker's process."""
    gaps, pulse = Gaps(), Lifeline.pulse

    def noted_pulse(self: Lifeline) -> None:
        gaps.beat()
        pulse(self)

    Lifeline.pulse = noted_pulse  # type: ignore[method-assign]
    worker = build_worker(job, name, queue)
    assert isinstance(worker.pins, BundleShelf)
    noted_shelf(worker.pins, gaps)
    return worker


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
