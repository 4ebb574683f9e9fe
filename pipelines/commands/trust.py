"""The commands about whose bundles are served: keys and sign."""

from typing import Annotated

import typer

from pipelines.commands.options import Config, Json, Set, console, print_json, settings_of


def keys(as_json: Json = False) -> None:
    """Print this machine's public key: others list it in `trusted_keys` to serve the bundles made here.

    Example:

        autosteer keys > this-machine.pub

    The private key is made at first use, in `$XDG_CONFIG_HOME/autosteer`, and is readable by its owner only.
    """
    from autosteer_core.bundle_signature import key_id
    from pipelines.signing import own_public_key

    public = own_public_key()
    if as_json:
        print_json({"key": key_id(public), "public": public})
    else:
        print(public)


def sign(
    bundle: Annotated[str, typer.Argument(help="folder or s3:// address of a bundle")],
    epoch: Annotated[int | None, typer.Option(help="grows with every bundle that shall replace another")] = None,
    config: Config = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Sign a bundle with this machine's key: one that is older than signatures, or was brought from elsewhere.

    Example:

        autosteer sign bundles/v1

        autosteer sign s3://bucket/bundles/v1 --epoch 12

    Its files, and the controls in its folder, are checked first; whether they are those you mean, only you know.
    A later epoch lets an older bundle follow a newer one.
    """
    from pipelines.bundle_files import sign_bundle
    from pipelines.evaluation_plan import controls_of
    from pipelines.signing import signer_of

    signer = signer_of(settings_of(config, set_, epoch=epoch))
    made = sign_bundle(bundle, signer)
    for control in controls_of(bundle).values():
        sign_bundle(control, signer)
    if as_json:
        print_json({"bundle_id": made.bundle_id, "bundle": bundle, "key": signer.key_id, "epoch": signer.epoch})
        return
    console.say(f"bundle {made.bundle_id} at {bundle} is signed by key {signer.key_id}, epoch {signer.epoch}")
