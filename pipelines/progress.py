"""Say what a long step is doing: one moving line on a terminal, a line a stage in a log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from rich.console import Console


@contextmanager
def told(console: Console, stage: str) -> Iterator[Callable[[str], None]]:
    """A function that is told every step; what follows a colon is detail, which a log does without."""
    if console.is_terminal:
        with console.status(stage) as status:
            yield status.update
        return
    started, latest = perf_counter(), ""

    def say(step: str) -> None:
        nonlocal latest
        stage = step.split(":")[0]
        if stage != latest:
            console.print(f"{perf_counter() - started:4.0f} s  {stage}", highlight=False, markup=False)
        latest = stage

    say(stage)
    yield say
