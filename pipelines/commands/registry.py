"""The commands about which bundle serves: publish, bundles, shadow, canary, promote and rollback."""

from pathlib import Path
from typing import Annotated, Any

import typer

from autosteer_core.registry_state import State
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

Reason = Annotated[str, typer.Option(help="why, in a sentence: it stays in the registry's audit log")]
BundleId = Annotated[str, typer.Argument(help="id of a published bundle, or how it begins")]


def publish(
    bundle: Annotated[str, typer.Argument(help="folder or s3:// address of a bundle")],
    registry: RegistryOption = None,
    allow_unsigned: UnsignedOption = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Put a bundle into the registry as a candidate; the same again is no change, and mends what was damaged there.

    Example:

        autosteer publish bundles/v2 --registry s3://bucket/registry

    A candidate decides nothing: `shadow` scores it beside the one that serves, `promote` makes it serve.
    """
    from pipelines.registry_files import publish_bundle, registry_of

    settings = settings_of(config, set_, registry=registry, allow_unsigned=allow_unsigned)
    ours = registry_of(settings)
    bundle_id = publish_bundle(bundle, ours, settings)
    state = ours.state()
    _tell(as_json, state, f"bundle {bundle_id} is in the registry: {state.stages[bundle_id]}", bundle_id=bundle_id)


def bundles(
    registry: RegistryOption = None,
    picture: Annotated[Path | None, typer.Option(help="also draw who came from whom, as an SVG file")] = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Show every bundle of the registry: its parent, stage and metrics, who did what with it, when and why.

    Example:

        autosteer bundles --registry registry/

        autosteer bundles --registry registry/ --picture lineage.svg --json
    """
    from pipelines.registry_files import registry_of
    from pipelines.registry_tables import as_values, bundles_table, moves_table

    settings = settings_of(config, set_, registry=registry)
    state = registry_of(settings).state()
    if picture is not None:
        from infra.whole_files import whole_files
        from pipelines.pictures.lineage import lineage_picture

        with whole_files(picture.parent, [picture.name]) as (file,):
            file.write(lineage_picture(state).decode())
    if as_json:
        print_json({"registry": settings.registry, **as_values(state)})
        return
    console.print(bundles_table(state))
    console.print(moves_table(state))
    if picture is not None:
        console.say(f"picture written to {picture}")


def shadow(
    bundle_id: BundleId,
    reason: Reason = "to compare it with the one that serves",
    registry: RegistryOption = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Score a candidate on every row that is judged, and let it decide none; it ends the trial of another one.

    Example:

        autosteer shadow 3f2a9c --registry registry/
    """
    from pipelines.registry_files import find_bundle, registry_of, who_here

    ours = registry_of(settings_of(config, set_, registry=registry))
    seen = ours.state()
    found = find_bundle(seen, bundle_id)
    state = ours.shadow(found, reason, who_here(), seen.number)
    _tell(as_json, state, f"bundle {found} is scored on every row and decides none", bundle_id=found)


def canary(
    bundle_id: BundleId,
    share: Annotated[float, typer.Option(help="share of the parts that it decides, 0 to below 1; 0 ends the canary")],
    reason: Reason = "to try it on a part of the rows",
    registry: RegistryOption = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Let the candidate that is scored decide a share of the parts; guards end that by themselves.

    Example:

        autosteer canary 3f2a9c --share 0.1 --registry registry/
    """
    from pipelines.registry_files import find_bundle, registry_of, who_here

    ours = registry_of(settings_of(config, set_, registry=registry))
    seen = ours.state()
    found = find_bundle(seen, bundle_id)
    state = ours.canary(found, share, reason, who_here(), seen.number)
    _tell(as_json, state, f"bundle {found} decides {share:.0%} of the parts that are claimed from now on",
          bundle_id=found, share=share)  # fmt: skip


def promote(
    bundle_id: BundleId,
    reason: Reason,
    registry: RegistryOption = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Let a bundle serve: parts that are claimed from now on are judged by it, running ones finish on theirs.

    Example:

        autosteer promote 3f2a9c --reason "recall on new attacks 0.94" --registry registry/

    Refused with E_REGISTRY_MOVED where somebody else changed what serves in the same moment.
    """
    from pipelines.registry_files import find_bundle, registry_of, who_here

    ours = registry_of(settings_of(config, set_, registry=registry))
    seen = ours.state()
    state = ours.promote(find_bundle(seen, bundle_id), reason, who_here(), seen.number)
    _served(as_json, state, seen)


def rollback(
    reason: Reason,
    to: Annotated[str | None, typer.Option(help="a bundle that served once; default: the one before")] = None,
    registry: RegistryOption = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Let the bundle serve that served before, or the one named; what was left is not gone back to by itself.

    Example:

        autosteer rollback --reason "refuses every cake" --registry registry/

        autosteer rollback --to 91bc04 --reason "the last one that was right" --registry registry/
    """
    from pipelines.registry_files import find_bundle, registry_of, who_here

    ours = registry_of(settings_of(config, set_, registry=registry))
    seen = ours.state()
    target = None if to is None else find_bundle(seen, to)
    _served(as_json, ours.roll_back(reason, who_here(), target, seen.number), seen)


def _served(as_json: bool, state: State, seen: State) -> None:
    if state.epoch == seen.epoch:
        _tell(as_json, state, f"bundle {state.serving} serves already: nothing was changed", before=seen.serving)
        return
    line = f"bundle {state.serving} serves from entry {state.epoch} on, before: {seen.serving or 'none'}"
    _tell(as_json, state, line, before=seen.serving)


def _tell(as_json: bool, state: State, line: str, **more: Any) -> None:
    if as_json:
        print_json({**more, "serving": state.serving, "epoch": state.epoch, "shadow": state.shadow,
                    "canary": state.canary, "audit_head": str(state.head)})  # fmt: skip
        return
    console.say(line)
    console.say(f"audit log: head {state.head}")
