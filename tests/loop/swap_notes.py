"""Workers note when they swap and what waits for it; and each can be told to die at a step on the way.

A file `kill-STEP` in the folder of notes makes the next process that comes to this step end itself by SIGKILL.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.bundle_shelf import BundleShelf
from workers.swapping import Swapper

NOTES = "SWAP_NOTES"  # the folder, in the environment of the driver and its workers
WORKER_STEPS = ("offer", "offered", "serve", "served", "pin", "pinned", "let_go", "let-gone")
SWAPPER_STEPS = ("look", "ask-offer", "asked-offer", "ask-serve", "asked-serve")


def maybe_die(step: str) -> None:
    """Where somebody asked for it, once."""
    with suppress(FileNotFoundError):
        (Path(os.environ[NOTES]) / f"kill-{step}").unlink()
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Gaps:
    """Between two pulses of the thread that judges: begin and end of each, by the clock of this machine."""

    last: float | None = None  # none before the first
    kept: list[tuple[float, float]] = field(default_factory=list)

    def beat(self) -> None:
        """A pulse."""
        now = time.time()
        if self.last is not None:
            self.kept.append((self.last, now))
        self.last = now

    def take(self) -> list[tuple[float, float]]:
        """Those since the last call."""
        taken, self.kept = self.kept, []
        return taken


def noted_shelf(shelf: BundleShelf, gaps: Gaps) -> None:
    """Its calls are noted from now on, and with each switch the gaps between pulses since the last."""
    file = (Path(os.environ[NOTES]) / f"worker-{os.getpid()}.jsonl").open("a")
    for method, after in (("offer", "offered"), ("serve", "served"), ("pin", "pinned"), ("let_go", "let-gone")):
        setattr(shelf, method, _timed(getattr(shelf, method), method, after, file, gaps))


def noted_swapper(swapper: Swapper) -> None:
    """It may be told to die before and after each of its calls."""
    ask = swapper.ask

    def asked(workers: Any, method: str, argument: Any) -> Any:
        maybe_die(f"ask-{method}")
        found = ask(workers, method, argument)
        maybe_die(f"asked-{method}")
        return found

    swapper.ask = asked


def _timed(call: Callable[..., Any], before: str, after: str, file: Any, gaps: Gaps) -> Callable[..., Any]:
    def timed(argument: Any) -> Any:
        maybe_die(before)
        begun, computed = time.time(), time.thread_time()
        found = call(argument)
        line: dict[str, Any] = {"step": before, "begun": begun, "seconds": time.time() - begun}
        line["cpu"] = time.thread_time() - computed
        if before == "serve":
            line |= {"epoch": argument.epoch, "promoted": argument.promoted, "gaps": gaps.take()}
        file.write(json.dumps(line) + "\n")
        file.flush()
        maybe_die(after)
        return found

    return timed


def noted(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What the workers noted, by process; a line that a death cut off is left out."""
    return {path.stem: list(_lines(path)) for path in sorted(folder.glob("worker-*.jsonl"))}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        with suppress(ValueError):
            yield json.loads(line)
