"""The command line: one function per command, its docstring is its help."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from autosteer_core.errors import AutosteerError, Interrupted, UserMistake
from infra.column_map import ColumnMap
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
    console.print(f"[red]error:[/red] {sentence}" if code != INTERRUPTED else sentence, highlight=False, markup=True)
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

    The same command continues after any interruption.
    """
    settings = load_settings(config, bundle=bundle, model=model, workers=workers, **_assignments(set_, "--set"))
    _moderate("generate", manifest, out, settings, _columns(column), as_json, compare)


@app.command()
def audit(
    manifest: Manifest,
    out: Out,
    bundle: BundleOption = None,
    model: ModelOption = None,
    workers: WorkersOption = None,
    column: Column = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Judge every item of a data set without answering: the forward pass stops at the probe layer.

    Example:

        autosteer audit dataset/ --out runs/audit --bundle bundles/v1 --column id=uid --column text=prompt
    """
    settings = load_settings(config, bundle=bundle, model=model, workers=workers, **_assignments(set_, "--set"))
    _moderate("audit", manifest, out, settings, _columns(column), as_json, False)


@app.command()
def calibrate(
    manifest: Manifest,
    out: Annotated[str, typer.Option(help="where the bundle is written: a folder or an s3:// address")],
    model: ModelOption = None,
    alpha: Annotated[float | None, typer.Option(help="largest share of harmful items that may pass")] = None,
    delta: Annotated[float | None, typer.Option(help="1 - confidence of that bound")] = None,
    column: Column = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Make a bundle (probe, Refusal Head, threshold, guarantee) from labelled items, in minutes.

    The manifest needs a `label` of harmful or benign on every row; `group`, `pair` and `source` make it better.

    Example:

        autosteer calibrate labelled.parquet --out bundles/v1 --alpha 0.05
    """
    from pipelines.calibrate import calibrate_manifest
    from pipelines.tables import bundle_table

    settings = load_settings(config, model=model, alpha=alpha, delta=delta, **_assignments(set_, "--set"))
    with console.status("calibrating") as status:
        made = calibrate_manifest(manifest, out, settings, _columns(column), lambda step: status.update(step))
    if as_json:
        _print_json({"bundle_id": made.bundle.bundle_id, "bundle": made.address, "layer": made.bundle.layer,
                     "threshold": made.bundle.threshold, "bound": made.bundle.guarantee.bound,
                     **made.bundle.report})  # fmt: skip
    else:
        console.print(bundle_table(made.bundle))
        console.print(f"bundle written to {made.address}", highlight=False)


@app.command()
def status(
    out: Annotated[str, typer.Argument(help="output of a generate or audit run")], as_json: Json = False
) -> None:
    """Show what a run has done so far; works while it runs, after it ended and after it died.

    Example:

        autosteer status runs/monday --json
    """
    from pipelines.status import run_status

    found = run_status(out)
    if as_json:
        _print_json(found)
        return
    table = Table(show_header=False, title=f"run {found['run_id']}")
    for name, value in found.items():
        shown = ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else value
        table.add_row(name.replace("_", " "), str(shown if shown is not None else "-"))
    console.print(table)


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


def _moderate(
    kind: Any, manifest: str, out: str, settings: Settings, columns: ColumnMap, as_json: bool, compare: bool
) -> None:
    from pipelines.batch_run import Request
    from pipelines.moderate import moderate

    summary = moderate(Request(kind, manifest, out, settings, columns, compare), console)
    if as_json:
        _print_json(summary.as_json())


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, default=str))


def _columns(assignments: list[str] | None) -> ColumnMap:
    return ColumnMap.of(_assignments(assignments, "--column"))


def _assignments(pairs: list[str] | None, flag: str) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs or []]
    for name, equals, _ in split:
        if not equals:
            raise UserMistake(f"{flag} {name} has no value: write {flag} name=value")
    return {name: value for name, _, value in split}
