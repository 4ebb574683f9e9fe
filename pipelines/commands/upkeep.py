"""The commands that look after a run: status, verify, retry, bury, clean and export."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipelines.commands.options import OUR_MISTAKE, Config, Json, Set, console, print_json, settings_of


def status(
    out: Annotated[str, typer.Argument(help="output of a generate or audit run")],
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Show what a run has done so far; works while it runs, after it ended and after it died.

    Example:

        autosteer status runs/monday --json
    """
    from pipelines.status import run_status

    found = run_status(out, settings_of(config, set_).queue)
    if as_json:
        print_json(found)
        return
    table = Table(show_header=False, title=f"run {found['run_id']}")
    for name, value in found.items():
        shown = ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else value
        table.add_row(name.replace("_", " "), str(shown if shown is not None else "-"))
    console.print(table)


def verify(
    out: Annotated[str, typer.Argument(help="output of a generate or audit run, finished or not")],
    manifest: Annotated[str | None, typer.Option(help="also compare with the manifest at this address")] = None,
    as_json: Json = False,
) -> None:
    """Recompute from what is stored that no row is lost, doubled, damaged or answered without its gate.

    Example:

        autosteer verify runs/monday

        autosteer verify s3://bucket/answers --manifest s3://bucket/items/ --json

    Every violation is one line with the part, the rows and what to do; the exit code is then 1.
    """
    from pipelines.tables import verified_table
    from pipelines.verify import lines
    from pipelines.verify import verify as verify_run

    with console.status("reading") as status:
        found = verify_run(out, manifest, lambda done, of: status.update(f"verifying: part {done} of {of}"))
    if as_json:
        print_json(found.as_json())
    else:
        console.print(verified_table(found))
        for line in lines(found):
            console.say(line, "red")
    if found.violations:
        raise typer.Exit(OUR_MISTAKE)


def retry(
    out: Annotated[str, typer.Argument(help="output of a generate or audit run")],
    errors: Annotated[
        str, typer.Option(help="rows to do again: transient, all, or error codes with commas between")
    ] = "transient",
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Open parts that were set aside, and error rows that may pass, to be done by the next run of the same command.

    Example:

        autosteer retry runs/monday

        autosteer retry runs/monday --errors E_OUT_OF_MEMORY,E_IMAGE_NOT_FOUND

    Rows that stay keep their verdicts; the old list of parts stays valid until the run is finished again.
    """
    from pipelines.retry import retry as retry_run

    with console.status("reading the rows"):
        found = retry_run(out, errors, settings_of(config, set_).queue)
    if as_json:
        print_json({"rows": found.rows, "parts": found.parts})
        return
    again = "repeat the run's command to do them" if found.rows or found.parts else "nothing is to be done again"
    console.say(f"{found.rows} rows and {found.parts} parts that were set aside: {again}")


def bury(
    out: Annotated[str, typer.Argument(help="output of a generate or audit run")],
    part: Annotated[
        list[str] | None, typer.Argument(help="parts to give up; default: all that are set aside")
    ] = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Give up parts that were set aside: their rows become errors, E_SET_ASIDE, and the run can be finished.

    Example:

        autosteer bury runs/monday

        autosteer retry runs/monday --errors E_SET_ASIDE
    """
    from pipelines.bury import bury as bury_parts

    found = bury_parts(out, part or [], settings_of(config, set_).queue)
    if as_json:
        print_json({"rows": found.rows, "parts": found.parts})
        return
    console.say(f"{found.rows} rows of {found.parts} parts are errors now: repeat the run's command to finish it")


def clean(
    out: Annotated[str, typer.Argument(help="output of a generate or audit run")],
    older_than: Annotated[float, typer.Option(min=0, help="hours; longer than the longest lease")] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only count")] = False,
    as_json: Json = False,
) -> None:
    """Remove what killed workers left behind: files that no reader sees. A run that ends does it by itself.

    Example:

        autosteer clean runs/monday --dry-run

        autosteer clean s3://bucket/answers --older-than 48
    """
    from autosteer_core.garbage import collect, garbage
    from autosteer_core.run import read_record
    from infra.open_store import open_store

    store = open_store(out)
    read_record(store)
    seconds = 3600 * older_than
    count = len(list(garbage(store, seconds))) if dry_run else collect(store, seconds)
    if as_json:
        print_json({"removed": 0 if dry_run else count, "found": count})
        return
    console.say(f"{count} leftovers {'found' if dry_run else 'removed'}")


def export(
    out: Annotated[str, typer.Argument(help="output of a finished generate or audit run")],
    to: Annotated[Path, typer.Option(help="folder for the files; older ones of the same names are replaced")],
    form: Annotated[str, typer.Option("--format", help="openai-batch, jsonl or csv")] = "openai-batch",
    as_json: Json = False,
) -> None:
    """Write a finished run's rows as OpenAI-batch output and error files, JSON lines or CSV.

    Refusals are outputs with `finish_reason` content_filter and the text in `refusal`; rows to review and rows that
    could not be answered are in the error file with a code.

    Example:

        autosteer export runs/monday --format openai-batch --to exports/monday

        autosteer export s3://bucket/audit --format jsonl --to exports/audit

    In CSV a text that a spreadsheet would run, or that begins with ', has a ' in front.
    """
    from pipelines.export import export as export_run

    made = export_run(out, form, to)
    if as_json:
        print_json({"folder": made.folder, "lines": made.lines})
        return
    said = ", ".join(f"{name} ({lines} lines)" for name, lines in made.lines.items())
    console.say(f"{said} written to {made.folder}")
