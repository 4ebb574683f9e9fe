"""The registry that the settings name: opened with this machine's key, its heads noted on this machine."""

import getpass
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from autosteer_core.bundle import Bundle
from autosteer_core.bundle_names import CARD, WEIGHTS
from autosteer_core.bundle_reading import admit, from_files
from autosteer_core.bundle_signature import Signer
from autosteer_core.errors import UserMistake
from autosteer_core.registry import Published, Registry, State
from autosteer_core.values import BundleId
from infra.open_store import open_store
from infra.signing_keys import key_file, make_key
from pipelines.audit_heads import note_head, noted_head
from pipelines.bundle_files import named_bundle, read_files
from pipelines.settings import Settings
from pipelines.signing import trust_of


def open_registry(address: str, read: Callable[[Mapping[str, bytes]], Bundle] = from_files) -> Registry:
    """To read and to change; nothing is written, and no key made, before something is to be signed."""
    store = open_store(address)
    return Registry(store, _now, sign_here, lambda head: note_head(store, head), lambda: noted_head(address), read)


def registry_of(settings: Settings) -> Registry:
    """Makes only bundles serve that the settings trust; raises UserMistake where no registry is set."""
    if settings.registry is None:
        raise UserMistake("no registry was named: give --registry, a folder or an s3:// address, or set `registry`")
    # Later epochs are given here, so an early one of a candidate's own signature is no reason to refuse it.
    return open_registry(
        settings.registry, lambda files: admit(files, replace(trust_of(settings), least_epoch=0)).bundle
    )


def publish_bundle(address: str, registry: Registry, settings: Settings) -> BundleId:
    """A bundle that lies elsewhere becomes a candidate here; whoever publishes it vouches for it, by a new signature.

    Raises:
        BundleRefused: not trusted, not sound, or no bundle.
    """
    files = read_files(address)
    bundle = named_bundle(address, lambda: admit(files, trust_of(settings)).bundle)
    return registry.publish({name: files[name] for name in (CARD, WEIGHTS)}, _about(bundle))


def _about(bundle: Bundle) -> Published:
    """What the bundle says of itself: one that was retrained elsewhere names its parent, material and seed."""
    told = bundle.report.get("retraining")
    told = told if isinstance(told, dict) else {}
    promised = bundle.guarantee
    metrics = {"missed_at_most": promised.bound, "false_refusals_at_most": promised.false_refusal_bound}
    seed = told.get("seed")
    return Published(
        parent=BundleId(str(told["parent"])) if told.get("parent") else None,
        material=str(told["material_sha256"]) if told.get("material_sha256") else None,
        metrics=metrics,
        seed=seed if isinstance(seed, int) else None,
    )


def find_bundle(state: State, begins: str) -> BundleId:
    """The one whose id begins so; raises UserMistake where that is none, or several."""
    found = [each for each in state.records if each.startswith(begins)] if begins else []
    if len(found) != 1:
        which = f"{len(found)} of them begin so" if found else f"it holds {len(state.records)} others"
        raise UserMistake(
            f"the registry has no one bundle {begins[:40]!r}, {which}: see `autosteer bundles`", "E_REGISTRY_UNKNOWN"
        )
    return found[0]


def sign_here(card: bytes, epoch: int) -> bytes:
    """`signature.json` of this machine's own key."""
    return Signer(make_key(key_file()), epoch).signature(card)


def who_here() -> str:
    """The person at this machine, as an entry names them: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id that has no name, as containers have
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
