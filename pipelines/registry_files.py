"""The registry that the settings name: opened with this machine's key, its heads noted on this machine."""

import getpass
import socket
from datetime import UTC, datetime

from autosteer_core.bundle_reading import admit
from autosteer_core.bundle_signature import Signer
from autosteer_core.errors import UserMistake
from autosteer_core.registry import Published, Registry, State
from autosteer_core.values import BundleId
from infra.open_store import open_store
from infra.signing_keys import key_file, make_key
from pipelines.audit_heads import note_head
from pipelines.bundle_files import named_bundle, read_files
from pipelines.settings import Settings
from pipelines.signing import trust_of


def open_registry(address: str) -> Registry:
    """To read and to change; nothing is written, and the machine's key made, before something is to be signed."""
    store = open_store(address)
    return Registry(store, _now, sign_here, lambda head: note_head(store, head))


def registry_of(settings: Settings) -> Registry:
    """Raises UserMistake where none is set."""
    if settings.registry is None:
        raise UserMistake("no registry was named: give --registry, a folder or an s3:// address, or set `registry`")
    return open_registry(settings.registry)


def publish_bundle(address: str, registry: Registry, settings: Settings) -> BundleId:
    """A bundle that lies elsewhere becomes a candidate here.

    Raises:
        BundleRefused: not trusted, not sound, or no bundle.
    """
    files = read_files(address)
    bundle = named_bundle(address, lambda: admit(files, trust_of(settings)).bundle)
    parent = bundle.report.get("parent")
    return registry.publish(files, Published(parent=BundleId(parent) if isinstance(parent, str) else None))


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
