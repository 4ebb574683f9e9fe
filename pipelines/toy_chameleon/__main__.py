"""`python -m pipelines.toy_chameleon`: train the toy Chameleon if it is not there, steer it, print the table."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.toy_chameleon.show import show_toy_chameleon


def main(
    cache: Annotated[Path | None, typer.Option(help="where the trained model is kept")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object on standard output")] = False,
) -> None:
    """Attack success, false refusals and accuracy of a toy Chameleon, before and after AutoSteer."""
    found = show_toy_chameleon(Console(stderr=as_json), cache)
    if as_json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
