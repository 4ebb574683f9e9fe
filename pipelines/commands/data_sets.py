"""The commands that turn public sets into manifests: suites and import."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Json, console, print_json


def suites(as_json: Json = False) -> None:
    """List the shipped suites and every importer: what each set is, its licence, what you must obtain and where.

    Example:

        autosteer suites
    """
    from pipelines.suite_tables import importers_table, suites_as_json, suites_table

    if as_json:
        print_json(suites_as_json())
        return
    console.print(suites_table())
    console.print(importers_table())


def import_(
    suite: Annotated[str, typer.Argument(help="name of a shipped suite, or a suite file (.toml)")],
    data: Annotated[Path, typer.Option(help="folder that the suite's paths start from")],
    out: Annotated[Path, typer.Option(help="the Parquet manifest that is written; an older one is replaced")],
    as_json: Json = False,
) -> None:
    """Make one labelled manifest of public sets that lie on this machine, without duplicates and leaked rows.

    Example:

        autosteer import public-text --data datasets/ --out evaluation.parquet
    """
    from pipelines.import_suite import import_suite
    from pipelines.suite import load_suite
    from pipelines.suite_tables import import_notes, import_table

    with console.status("importing"):
        report = import_suite(load_suite(suite), data, out)
    if as_json:
        print_json(report.as_json())
        return
    console.print(import_table(report))
    for note in [*import_notes(report), f"manifest written to {report.out}"]:
        console.say(note)
