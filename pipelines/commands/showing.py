"""The command that shows the whole thing: demo."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Json, WorkersOption, console, print_json
from pipelines.settings import load_settings


def demo(
    out: Annotated[Path, typer.Option(help="folder for manifests, bundle, runs and report")] = Path("runs/demo"),
    workers: WorkersOption = None,
    as_json: Json = False,
) -> None:
    """Show the whole thing on this machine: build the demo model, calibrate, generate with --compare, audit.

    Example:

        autosteer demo --out runs/demo
    """
    from pipelines.demo.show import show_demo

    found = show_demo(out, load_settings(workers=workers), console)
    if as_json:
        print_json(found)
