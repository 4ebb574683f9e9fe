"""What commands share: options, the console, and settings from flags."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from autosteer_core.errors import UserMistake
from infra.column_map import ColumnMap
from pipelines.settings import Settings, load_settings
from pipelines.terminal import Terminal

# Tables need about 110 columns; a file or a pipe has no width of its own.
console = Terminal(stderr=True, width=None if sys.stderr.isatty() else 120)

USER_MISTAKE, OUR_MISTAKE, INTERRUPTED = 2, 1, 130

Manifest = Annotated[str, typer.Argument(help="Parquet or JSONL file, folder, or s3:// address")]
Out = Annotated[str, typer.Option(help="output folder or s3:// address; the same command continues a run there")]
BundleOption = Annotated[str | None, typer.Option(help="folder or s3:// address of the bundle")]
FollowOption = Annotated[
    str | None, typer.Option("--registry", help="follow what is promoted in this registry; a --bundle wins over it")
]
UnsignedOption = Annotated[
    bool | None, typer.Option("--allow-unsigned", help="serve the bundle though no trusted key has signed it")
]
ModelOption = Annotated[str | None, typer.Option(help="model folder or hub id; `demo` is the built-in small model")]
RegistryOption = Annotated[str | None, typer.Option(help="folder or s3:// address of the registry")]
WorkersOption = Annotated[int | None, typer.Option(help="number of model actors")]
Config = Annotated[Path | None, typer.Option(help="settings file, TOML or YAML")]
Column = Annotated[list[str] | None, typer.Option(help="name=COLUMN for id, text, image, ...; may be repeated")]
Set = Annotated[list[str] | None, typer.Option("--set", help="any other setting as name=value; may be repeated")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object on standard output")]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, default=str))


def settings_of(config: Path | None, assignments: list[str] | None, **flags: Any) -> Settings:
    """All sources; a setting with a flag of its own may also come by --set, but not by both."""
    assigned = _assignments(assignments, "--set")
    twice = sorted(name for name in assigned if flags.get(name) is not None)
    if twice:
        raise UserMistake(f"setting {twice[0]} is given twice: by --{twice[0]} and by --set, keep one")
    return load_settings(config, **flags | assigned)


def columns_of(assignments: list[str] | None) -> ColumnMap:
    return ColumnMap.of(_assignments(assignments, "--column"))


def bundles_of(pairs: list[str] | None, flag: str) -> dict[str, str]:
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
