"""A driver as `autosteer generate` is one, that follows a registry; its workers note when they swap and what waits.

A file `kill-STEP` in the folder of notes makes the next process that comes to this step end itself by SIGKILL.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from autosteer_core.ports import PartQueue
from infra.column_map import ColumnMap
from pipelines import batch_run
from pipelines.batch_run import Request, run_batch
from pipelines.job import Job
from pipelines.settings import load_settings
from pipelines.wiring import build_worker
from workers.bundle_shelf import BundleShelf
from workers.lifeline import Lifeline
from workers.loop import PartWorker
from workers.swapping import Swapper

NOTES = "SWAP_NOTES"  # the folder, in the environment of the driver and its workers
WORKER_STEPS = ("offer", "offered", "serve", "served", "pin", "pinned", "let_go")
DRIVER_STEPS = ("look", "ask-offer", "asked-offer", "ask-serve", "asked-serve")


def main(root: Path, out: str) -> None:
    """Do, or continue, the run over `items.parquet`."""
    settings = load_settings(
        model=str(root / "model"), registry=str(root / "registry"), rows_per_part=8, max_new_tokens=4,
        lease_seconds=20, workers=2, slots=8,
    )  # fmt: skip
    batch_run.build_worker = measured_worker
    _die_at(Swapper, "look", "look", "looked")
    asked = Swapper._swap

    def swap(self: Swapper, wanted: Any, behind: Any) -> Any:
        self.ask = _dying_ask(self.ask)
        return asked(self, wanted, behind)

    Swapper._swap = swap  # type: ignore[method-assign]
    request = Request("generate", str(root / "items.parquet"), str(root / out), settings, ColumnMap())
    run_batch(request, lambda run, rows, counts: None)


def measured_worker(job: Job, name: str, queue: PartQueue) -> PartWorker:
    """In a worker's process."""
    note, gaps = _notes(), _Gaps()
    pulse = Lifeline.pulse

    def noted_pulse(self: Lifeline) -> None:
        gaps.beat()
        pulse(self)

    if Lifeline.pulse.__name__ == "pulse":
        Lifeline.pulse = noted_pulse  # type: ignore[method-assign]
    worker = build_worker(job, name, queue)
    shelf = worker.pins
    assert isinstance(shelf, BundleShelf)
    for method, after in (("offer", "offered"), ("serve", "served"), ("pin", "pinned"), ("let_go", "let-gone")):
        setattr(shelf, method, _timed(getattr(shelf, method), method, after, note, gaps))
    return worker


class _Gaps:
    """Seconds between two pulses of the thread that judges, as (begin, end) in the clock of this process."""

    def __init__(self) -> None:
        self.last = time.time()
        self.kept: list[tuple[float, float]] = []

    def beat(self) -> None:
        now = time.time()
        self.kept.append((self.last, now))
        self.last = now

    def take(self) -> list[tuple[float, float]]:
        taken, self.kept = self.kept, []
        return taken


def _timed(
    call: Callable[..., Any], before: str, after: str, note: Callable[[dict[str, Any]], None], gaps: _Gaps
) -> Callable[..., Any]:
    def timed(argument: Any) -> Any:
        _maybe_die(before)
        begun = time.time()
        found = call(argument)
        line: dict[str, Any] = {"step": before, "begun": begun, "seconds": time.time() - begun}
        if before == "serve":
            line |= {"epoch": argument.epoch, "promoted": argument.promoted, "gaps": gaps.take()}
        note(line)
        _maybe_die(after)
        return found

    return timed


def _dying_ask(ask: Callable[..., Any]) -> Callable[..., Any]:
    def asked(workers: Any, method: str, argument: Any) -> Any:
        _maybe_die(f"ask-{method}")
        found = ask(workers, method, argument)
        _maybe_die(f"asked-{method}")
        return found

    return asked if ask.__name__ != "asked" else ask


def _die_at(kind: type, method: str, before: str, after: str) -> None:
    call = getattr(kind, method)

    def dying(self: Any) -> Any:
        _maybe_die(before)
        found = call(self)
        _maybe_die(after)
        return found

    setattr(kind, method, dying)


def _maybe_die(step: str) -> None:
    with suppress(FileNotFoundError):
        (Path(os.environ[NOTES]) / f"kill-{step}").unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _notes() -> Callable[[dict[str, Any]], None]:
    file = (Path(os.environ[NOTES]) / f"worker-{os.getpid()}.jsonl").open("a")
    return partial(_note, file)


def _note(file: Any, line: dict[str, Any]) -> None:
    file.write(json.dumps(line) + "\n")
    file.flush()


def noted(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What the workers noted, by process; a line that a death cut off is left out."""
    return {path.stem: list(_lines(path)) for path in sorted(folder.glob("worker-*.jsonl"))}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        with suppress(ValueError):
            yield json.loads(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
