"""The command line: one function per command, its docstring is its help."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from autosteer_core.errors import AutosteerError, Interrupted, UserMistake
from infra.column_map import ColumnMap
from pipelines.progress import told
from pipelines.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
# Tables need about 110 columns; a file or a pipe has no width of its own.
console = Console(stderr=True, width=None if sys.stderr.isatty() else 120)

USER_MISTAKE, OUR_MISTAKE, INTERRUPTED = 2, 1, 130

Manifest = Annotated[str, typer.Argument(help="Parquet or JSONL file, folder, or s3:// address")]
Out = Annotated[str, typer.Option(help="output folder or s3:// address; the same command continues a run there")]
BundleOption = Annotated[str | None, typer.Option(help="folder or s3:// address of the bundle")]
ModelOption = Annotated[str | None, typer.Option(help="model folder or hub id; `demo` is the built-in small model")]
WorkersOption = Annotated[int | None, typer.Option(help="number of model actors")]
Config = Annotated[Path | None, typer.Option(help="settings file, TOML or YAML")]
Column = Annotated[list[str] | None, typer.Option(help="name=COLUMN for id, text, image, ...; may be repeated")]
Set = Annotated[list[str] | None, typer.Option("--set", help="any other setting as name=value; may be repeated")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object on standard output")]


def main() -> None:
    """Run a command; bad input ends with one sentence and exit code 2, our failure with exit code 1."""
    # Ray reads its mode once, when it is imported.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")  # the libraries' own bars; ours say what matters
    try:
        app()
    except UserMistake as mistake:
        _fail(str(mistake), USER_MISTAKE)
    except Interrupted as stop:
        _fail(str(stop), INTERRUPTED)
    except AutosteerError as error:
        _fail(str(error), OUR_MISTAKE)
    except Exception as error:
        if os.environ.get("AUTOSTEER_DEBUG"):
            raise
        _fail(f"internal error, {type(error).__name__}: {error} (AUTOSTEER_DEBUG=1 shows where)", OUR_MISTAKE)


def _fail(sentence: str, code: int) -> None:
    said = escape(sentence)
    console.print(f"[red]error:[/red] {said}" if code != INTERRUPTED else said, highlight=False, markup=True)
    sys.exit(code)


@app.command()
def generate(
    manifest: Manifest,
    out: Out,
    bundle: BundleOption = None,
    model: ModelOption = None,
    workers: WorkersOption = None,
    compare: Annotated[bool, typer.Option("--compare", help="also answer unsteered and always steered")] = False,
    column: Column = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Answer every item of a manifest, refusing the risky ones: exactly one row each, with risk and versions.

    Example:

        autosteer generate items.parquet --out runs/monday --bundle bundles/v1

        autosteer generate s3://bucket/items/ --out s3://bucket/answers/ --bundle s3://bucket/bundles/v1 --workers 8

        autosteer generate items.parquet --out runs/drawn --bundle bundles/v1 --set temperature=0.8 --set stop=User:

    The same command continues after any interruption.
    """
    from pipelines.batch_run import Request

    settings = _settings(config, set_, bundle=bundle, model=model, workers=workers)
    _moderate(Request("generate", manifest, out, settings, _columns(column), compare), as_json)


@app.command()
def audit(
    manifest: Manifest,
    out: Out,
    bundle: BundleOption = None,
    model: ModelOption = None,
    workers: WorkersOption = None,
    beside: Annotated[
        list[str] | None, typer.Option(help="NAME=BUNDLE that reads the same pass; may be repeated")
    ] = None,
    column: Column = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Judge every item of a data set without answering: the forward pass stops at the probe layer.

    Example:

        autosteer audit dataset/ --out runs/audit --bundle bundles/v1 --column id=uid --column text=prompt

        autosteer audit dataset/ --out runs/both --bundle bundles/v1 --beside next=bundles/v2
    """
    from pipelines.batch_run import Request

    settings = _settings(config, set_, bundle=bundle, model=model, workers=workers)
    others = _bundles(beside, "--beside")
    _moderate(Request("audit", manifest, out, settings, _columns(column), beside=others), as_json)


@app.command()
def calibrate(
    manifest: Manifest,
    out: Annotated[str, typer.Option(help="where the bundle is written: a folder or an s3:// address")],
    model: ModelOption = None,
    alpha: Annotated[float | None, typer.Option(help="largest share of the bounded error")] = None,
    delta: Annotated[float | None, typer.Option(help="1 - confidence of that bound")] = None,
    bounds: Annotated[str | None, typer.Option(help="the error that alpha limits: misses or false-refusals")] = None,
    like: Annotated[str | None, typer.Option(help="manifest of unlabelled items like those to be met")] = None,
    column: Column = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Make a bundle (probe, Refusal Head, threshold, guarantee) from labelled items, in minutes.

    The manifest needs a `label` of harmful or benign on every row; `group`, `pair` and `source` make it better.

    Example:

        autosteer calibrate labelled.parquet --out bundles/v1 --alpha 0.05

        autosteer calibrate labelled.parquet --out bundles/v2 --bounds false-refusals --like traffic.parquet
    """
    from pipelines.calibrate import CalibrationRequest, calibrate_manifest
    from pipelines.tables import bundle_table

    settings = _settings(config, set_, model=model, alpha=alpha, delta=delta, bounds=bounds)
    request = CalibrationRequest(manifest, out, settings, _columns(column), like)
    with told(console, "loading the model") as say:
        made = calibrate_manifest(request, say)
    if as_json:
        _print_json({"bundle_id": made.bundle.bundle_id, "bundle": made.address, "layers": made.bundle.layers,
                     "threshold": made.bundle.guarantee.threshold, "bound": made.bundle.guarantee.bound,
                     **made.bundle.report})  # fmt: skip
    else:
        console.print(bundle_table(made.bundle))
        console.print(f"bundle written to {made.address}", highlight=False)


@app.command()
def evaluate(
    suite: Annotated[str, typer.Argument(help="name of a shipped suite, a suite file (.toml) or a manifest")],
    out: Out,
    bundle: BundleOption = None,
    data: Annotated[Path, typer.Option(help="folder that holds the sets of the suite")] = Path("data"),
    baseline: Annotated[list[str] | None, typer.Option(help="NAME=BUNDLE to compare with; may be repeated")] = None,
    judge: Annotated[
        list[str] | None, typer.Option(help="MODEL or MODEL@CLASS, a classifier or a guard model; may be repeated")
    ] = None,
    calibrated_on: Annotated[
        str | None, typer.Option(help="manifest of the calibration, for the leakage check and the text probe")
    ] = None,
    sample: Annotated[int, typer.Option(help="rows per set that are answered under every condition; 0: all")] = 100,
    sweep: Annotated[int, typer.Option(help="rows that are answered at every epsilon; 0: no sweep")] = 24,
    model: ModelOption = None,
    workers: WorkersOption = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle on a suite: attack success, refusals, accuracy, detection, controls, with intervals.

    Example:

        autosteer evaluate public-text --data sets/ --bundle bundles/v1 --calibrated-on labelled.parquet --out runs/e

        autosteer evaluate test.parquet --bundle bundles/v1 --baseline paper=bundles/paper --judge guard/ --out runs/f

    The same command continues after any interruption. Controls inside the bundle's folder are evaluated with it.
    """
    from pipelines.evaluate import EvaluationRequest
    from pipelines.evaluate import evaluate as evaluate_suite
    from pipelines.evaluation_costs import cost_table
    from pipelines.evaluation_tables import evaluation_tables

    settings = _settings(config, set_, bundle=bundle, model=model, workers=workers)
    baselines = _bundles(baseline, "--baseline")
    found = evaluate_suite(
        EvaluationRequest(suite, data, out, settings, baselines, judge or [], calibrated_on, sample, sweep), console
    )
    if as_json:
        _print_json(found.as_json())
        return
    for table in [*evaluation_tables(found), cost_table(found, settings)]:
        console.print(table)
    rows = f"{len(found.questions)} rows measured, {found.unreadable} more unreadable"
    console.print(f"{rows}: evaluation.json and evaluation.html are in {out}", highlight=False, markup=False)


@app.command()
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

    found = run_status(out, _settings(config, set_).queue)
    if as_json:
        _print_json(found)
        return
    table = Table(show_header=False, title=f"run {found['run_id']}")
    for name, value in found.items():
        shown = ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else value
        table.add_row(name.replace("_", " "), str(shown if shown is not None else "-"))
    console.print(table)


@app.command("export")
def export_(
    out: Annotated[str, typer.Argument(help="output of a finished generate or audit run")],
    to: Annotated[Path, typer.Option(help="folder for the files; older ones of the same names are replaced")],
    form: Annotated[str, typer.Option("--format", help="openai-batch or jsonl")] = "openai-batch",
    as_json: Json = False,
) -> None:
    """Write a finished run's rows as OpenAI-batch output and error files, or as JSON lines.

    Refusals are outputs with `finish_reason` content_filter and the text in `refusal`; rows to review and rows that
    could not be answered are in the error file with a code.

    Example:

        autosteer export runs/monday --format openai-batch --to exports/monday

        autosteer export s3://bucket/audit --format jsonl --to exports/audit
    """
    from pipelines.export import export

    made = export(out, form, to)
    if as_json:
        _print_json({"folder": made.folder, "lines": made.lines})
        return
    said = ", ".join(f"{name} ({lines} lines)" for name, lines in made.lines.items())
    console.print(f"{said} written to {made.folder}", highlight=False, markup=False)


@app.command()
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

        autosteer retry runs/monday --errors E_OUT_OF_MEMORY,E_IMAGE_MISSING

    Rows that stay keep their verdicts; the old list of parts stays valid until the run is finished again.
    """
    from pipelines.retry import retry as retry_run

    with console.status("reading the rows"):
        found = retry_run(out, errors, _settings(config, set_).queue)
    if as_json:
        _print_json({"rows": found.rows, "parts": found.parts})
        return
    again = "repeat the run's command to do them" if found.rows or found.parts else "nothing is to be done again"
    console.print(f"{found.rows} rows and {found.parts} parts that were set aside: {again}", highlight=False)


@app.command()
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

    found = bury_parts(out, part or [], _settings(config, set_).queue)
    if as_json:
        _print_json({"rows": found.rows, "parts": found.parts})
        return
    console.print(
        f"{found.rows} rows of {found.parts} parts are errors now: repeat the run's command to finish it",
        highlight=False,
    )


@app.command()
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
        _print_json(found.as_json())
    else:
        console.print(verified_table(found))
        for line in lines(found):
            console.print(line, style="red", highlight=False, markup=False)
    if found.violations:
        raise typer.Exit(OUR_MISTAKE)


@app.command()
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
        _print_json({"removed": 0 if dry_run else count, "found": count})
        return
    console.print(f"{count} leftovers {'found' if dry_run else 'removed'}", highlight=False)


@app.command()
def suites(as_json: Json = False) -> None:
    """List the shipped suites and every importer: what each set is, its licence, what you must obtain and where.

    Example:

        autosteer suites
    """
    from pipelines.suite_tables import importers_table, suites_as_json, suites_table

    if as_json:
        _print_json(suites_as_json())
        return
    console.print(suites_table())
    console.print(importers_table())


@app.command("import")
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
        _print_json(report.as_json())
        return
    console.print(import_table(report))
    for note in [*import_notes(report), f"manifest written to {report.out}"]:
        console.print(note, highlight=False, markup=False)


@app.command()
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
        _print_json(found)


def _moderate(request: Any, as_json: bool) -> None:
    from pipelines.moderate import moderate

    summary = moderate(request, console)
    if as_json:
        _print_json(summary.as_json())


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, default=str))


def _settings(config: Path | None, assignments: list[str] | None, **flags: Any) -> Settings:
    """All sources; a setting with a flag of its own may also come by --set, but not by both."""
    assigned = _assignments(assignments, "--set")
    twice = sorted(name for name in assigned if flags.get(name) is not None)
    if twice:
        raise UserMistake(f"setting {twice[0]} is given twice: by --{twice[0]} and by --set, keep one")
    return load_settings(config, **flags | assigned)


def _columns(assignments: list[str] | None) -> ColumnMap:
    return ColumnMap.of(_assignments(assignments, "--column"))


def _bundles(pairs: list[str] | None, flag: str) -> dict[str, str]:
    """Name -> address; of two with one name, none may be left out quietly."""
    named = _assignments(pairs, flag)
    if len(named) < len(pairs or []) or "" in named:
        raise UserMistake(f"{flag} needs a name of its own for every bundle: write {flag} NAME=BUNDLE")
    return named


def _assignments(pairs: list[str] | None, flag: str) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs or []]
    for name, equals, _ in split:
        if not equals:
            raise UserMistake(f"{flag} {name} has no value: write {flag} name=value")
    return {name: value for name, _, value in split}
