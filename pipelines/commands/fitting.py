"""The commands that make a bundle and measure it: calibrate and evaluate."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import (
    BundleOption,
    Column,
    Config,
    Json,
    Manifest,
    ModelOption,
    Out,
    Set,
    UnsignedOption,
    WorkersOption,
    bundles_of,
    columns_of,
    console,
    print_json,
    settings_of,
)
from pipelines.progress import told


def calibrate(
    manifest: Manifest,
    out: Annotated[str | None, typer.Option(help="where the bundle is written: a folder or an s3:// address")] = None,
    registry: Annotated[
        str | None, typer.Option(help="also publish it as a candidate in this registry, with a locked holdout")
    ] = None,
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

        autosteer calibrate labelled.parquet --registry registry
    """
    from pipelines.calibrate import CalibrationRequest, calibrate_manifest
    from pipelines.tables import bundle_table

    settings = settings_of(config, set_, model=model, alpha=alpha, delta=delta, bounds=bounds, registry=registry)
    request = CalibrationRequest(manifest, out, settings, columns_of(column), like)
    with told(console, "loading the model") as say:
        made = calibrate_manifest(request, say)
    if as_json:
        print_json({"bundle_id": made.bundle.bundle_id, "bundle": made.address, "layers": made.bundle.layers,
                     "threshold": made.bundle.guarantee.threshold, "bound": made.bundle.guarantee.bound,
                     **made.bundle.report})  # fmt: skip
    else:
        console.print(bundle_table(made.bundle))
        console.say(f"bundle written to {made.address}")


def evaluate(
    suite: Annotated[str, typer.Argument(help="name of a shipped suite, a suite file (.toml) or a manifest")],
    out: Out,
    bundle: BundleOption = None,
    allow_unsigned: UnsignedOption = None,
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

    settings = settings_of(config, set_, bundle=bundle, allow_unsigned=allow_unsigned, model=model, workers=workers)
    baselines = bundles_of(baseline, "--baseline")
    found = evaluate_suite(
        EvaluationRequest(suite, data, out, settings, baselines, judge or [], calibrated_on, sample, sweep), console
    )
    if as_json:
        print_json(found.as_json())
        return
    for table in [*evaluation_tables(found), cost_table(found, settings)]:
        console.print(table)
    rows = f"{len(found.questions)} rows measured, {found.unreadable} more unreadable"
    console.say(f"{rows}: evaluation.json and evaluation.html are in {out}")
