"""The commands that look back: replay, recall and erase."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from autosteer_core.errors import UserMistake
from autosteer_core.values import BundleId
from pipelines.commands.options import (
    Config,
    Json,
    RegistryOption,
    Set,
    UnsignedOption,
    console,
    print_json,
    settings_of,
)

if TYPE_CHECKING:
    from pipelines.replay import Replayed

_SHOWN = 20
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0}

Outs = Annotated[list[str], typer.Argument(help="outputs of generate or audit runs that kept activations")]


def replay(
    outs: Outs,
    bundle: Annotated[str, typer.Option(help="folder or s3:// address of the bundle, or its id in the registry")],
    regenerate: Annotated[
        bool, typer.Option("--regenerate", help="have the flipped rows done again by the run's own command")
    ] = False,
    registry: RegistryOption = None,
    allow_unsigned: UnsignedOption = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Read the kept activations of finished or running runs under another bundle, and list the gates that flip.

    Example:

        autosteer replay runs/monday runs/tuesday --bundle bundles/v2

        autosteer replay runs/monday --bundle 0f3a5c7e9b1d2468 --registry registry --regenerate

    The model is not needed. Rows of which no activation is kept are counted, and are not read.
    """
    from pipelines.bundle_files import load_bundle
    from pipelines.registry_files import open_registry
    from pipelines.replay import regenerate as regenerate_rows
    from pipelines.replay import replay as replay_rows

    settings = settings_of(config, set_, registry=registry, allow_unsigned=allow_unsigned)
    named = load_bundle(_address(bundle, settings.registry), settings)
    serving = open_registry(settings.registry).state().serving if settings.registry else None
    with _progress("reading again", "part") as progress:
        found = regenerate_rows(outs, named, serving, progress) if regenerate else replay_rows(outs, named, progress)
    if as_json:
        print_json(found.as_json())
        return
    console.print(_flip_table(found))
    console.say(_said(found, regenerate))


def recall(
    outs: Annotated[list[str], typer.Argument(help="outputs of runs that follow the registry")],
    bundle: Annotated[str, typer.Option(help="id of the bad bundle, or its address")],
    reason: Annotated[str, typer.Option(help="why, for the registry's log")],
    registry: RegistryOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only count")] = False,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Find every part that a bad bundle decided, and have it done again; the bundle never serves again.

    Example:

        autosteer recall runs/monday runs/tuesday --bundle 0f3a5c7e9b1d2468 --reason "misses tables" --dry-run

        autosteer recall runs/monday --bundle bundles/v3 --reason "fitted on the wrong labels"

    Repeat each run's own command afterwards: the bundle that serves then judges those rows. Readers see the old rows
    until the new ones are all there.
    """
    from pipelines.bundle_files import load_bundle
    from pipelines.recall import recall as recall_rows
    from pipelines.registry_files import registry_of, who_here

    settings = settings_of(config, set_, registry=registry)
    bundle_id = BundleId(bundle) if _is_id(bundle) else load_bundle(bundle, settings).bundle_id
    known = registry_of(settings)
    with console.status("reading the records"):
        # Counted first: where one of the runs cannot be helped, the registry is not changed either.
        found = recall_rows(outs, bundle_id, known.state().serving, dry_run=True)
        if not dry_run:
            known.recall(bundle_id, reason, who_here())
            found = recall_rows(outs, bundle_id, known.state().serving)
    if as_json:
        print_json(found.as_json() | {"dry_run": dry_run})
        return
    for run in found.runs:
        console.say(f"{run.out}: bundle {bundle_id} decided {run.rows:,} rows in {run.parts} parts")
    if not dry_run:
        again = "repeat each run's command to do them" if found.rows else "nothing is to be done again"
        console.say(f"the bundle is recalled, {found.rows:,} rows are open again: {again}")


def erase(
    outs: Annotated[list[str] | None, typer.Argument(help="outputs of finished runs")] = None,
    item: Annotated[str | None, typer.Option(help="erase what was read of the item with this id")] = None,
    older_than: Annotated[
        str | None, typer.Option(help="erase what was kept for longer than this: 90d, 12h or 30m")
    ] = None,
    registry: Annotated[
        str | None, typer.Option(help="with --item: erase what was said of it in this registry too")
    ] = None,
    as_json: Json = False,
) -> None:
    """Erase kept activations: of one item, because a person asks for it, or those that are older than a time.

    Example:

        autosteer erase runs/monday runs/tuesday --item user-4711 --registry registry

        autosteer erase runs/monday --older-than 90d

    Verdicts and manifests stay. What a bundle was fitted on stays as well, and is counted: retrain without it first.
    """
    from pipelines.erasure import erase_item, erase_older
    from pipelines.registry_erasure import erase_from_registry

    if (item is None) == (older_than is None):
        raise UserMistake("what is to be erased was not said: give --item ID or --older-than 90d, one of the two")
    if registry is not None and item is None:
        raise UserMistake("--registry goes with --item: labels and bundles have no age after which they must go")
    if not outs and registry is None:
        raise UserMistake("nothing was named to erase from: give outputs of runs, or --registry with --item")
    with _progress("erasing", "part") as progress:
        if item is not None:
            found = erase_item(outs or [], item, progress).as_json()
        else:
            found = erase_older(outs or [], _seconds(str(older_than)), progress).as_json()
    if registry is not None and item is not None:
        found |= erase_from_registry(registry, item).as_json()
    if as_json:
        print_json(found)
        return
    for name, count in found.items():
        console.say(f"{name.replace('_', ' ')}: {count:,}")


def _flip_table(found: "Replayed") -> Table:
    table = Table("output", "row", "item", "kind", "risk before", "risk now", "gate", title="flips")
    for flip in found.flips[:_SHOWN]:
        risks = ("-" if risk is None else f"{risk:.3f}" for risk in (flip.risk_before, flip.risk))
        table.add_row(
            flip.out, str(flip.row), flip.item_id, flip.modality, *risks, "opens" if flip.gate_open else "closes"
        )
    return table


def _said(found: "Replayed", regenerate: bool) -> str:
    values = found.as_json()
    shown = f", the first {_SHOWN} are shown, --json lists all" if len(found.flips) > _SHOWN else ""
    said = (
        f"{found.read:,} of {found.rows:,} rows read again under {found.bundle_id} in {found.seconds:.1f} s "
        f"({values['rows_per_second'] or 0:,} rows/s): {found.opened:,} gates open, {found.closed:,} close{shown}"
    )
    if regenerate:
        said += f"; {found.reopened:,} rows are open again, repeat each run's command to do them"
    return said


@contextmanager
def _progress(doing: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    with console.status(doing) as status:
        yield lambda done, of: status.update(f"{doing}: {unit} {done} of {of}")


def _address(bundle: str, registry: str | None) -> str:
    """An id alone is one of the registry's."""
    return f"{registry.rstrip('/')}/bundles/{bundle}" if registry and _is_id(bundle) else bundle


def _is_id(bundle: str) -> bool:
    return re.fullmatch("[0-9a-f]{16}", bundle) is not None


def _seconds(age: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", age)
    if found is None:
        raise UserMistake(f"--older-than {age[:40]!r} is no time: write 90d, 12h or 30m")
    return float(found[1]) * _SECONDS[found[2]]
