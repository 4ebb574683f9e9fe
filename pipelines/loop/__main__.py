"""`python -m pipelines.loop`: from harm that a probe misses to a better probe in running workers, and back."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from autosteer_core.errors import AutosteerError
from pipelines.terminal import Terminal
from workers.ray_access import prepare


def main(
    out: Annotated[Path, typer.Option(help="folder for manifests, registry, runs and report")] = Path("runs/loop"),
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object on standard output")] = False,
) -> None:
    """Calibrate, generate, flag, label, retrain, gate, shadow, promote while a run works, replay, roll back.

    Example:

        python -m pipelines.loop --out runs/loop
    """
    prepare()  # before anything imports Ray
    from pipelines.loop.whole_loop import run_loop
    from pipelines.settings import load_settings

    console = Terminal(stderr=as_json)
    try:
        found = run_loop(out, load_settings(), console)
    except AutosteerError as error:
        console.say(f"error: {error.code}: {error}", "red")
        sys.exit(2)
    if as_json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
