"""The commands that put a manifest through the model: generate and audit."""

from typing import Annotated, Any

import typer

from pipelines.commands.options import (
    BundleOption,
    Column,
    Config,
    FollowOption,
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


def generate(
    manifest: Manifest,
    out: Out,
    bundle: BundleOption = None,
    registry: FollowOption = None,
    allow_unsigned: UnsignedOption = None,
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

        autosteer generate items.parquet --out runs/tuesday --registry registry/

        autosteer generate items.parquet --out runs/drawn --bundle bundles/v1 --set temperature=0.8 --set stop=User:

    The same command continues after any interruption. With --registry and no --bundle, each part is judged by the
    bundle that is promoted there when the part is begun, and its rows say which.
    """
    from pipelines.batch_run import Request

    settings = settings_of(
        config, set_, bundle=bundle, registry=registry, allow_unsigned=allow_unsigned, model=model, workers=workers
    )
    _moderate(Request("generate", manifest, out, settings, columns_of(column), compare), as_json)


def audit(
    manifest: Manifest,
    out: Out,
    bundle: BundleOption = None,
    registry: FollowOption = None,
    allow_unsigned: UnsignedOption = None,
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

    settings = settings_of(
        config, set_, bundle=bundle, registry=registry, allow_unsigned=allow_unsigned, model=model, workers=workers
    )
    others = bundles_of(beside, "--beside")
    _moderate(Request("audit", manifest, out, settings, columns_of(column), beside=others), as_json)


def _moderate(request: Any, as_json: bool) -> None:
    from pipelines.moderate import moderate

    summary = moderate(request, console)
    if as_json:
        print_json(summary.as_json())
