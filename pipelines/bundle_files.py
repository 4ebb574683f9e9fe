"""A signed bundle in a folder or under an s3:// prefix."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autosteer_core.bundle import Bundle, to_files
from autosteer_core.bundle_card import MOST_BYTES as MOST_CARD_BYTES
from autosteer_core.bundle_names import CARD, SIGNATURE, WEIGHTS
from autosteer_core.bundle_reading import admit, from_files
from autosteer_core.bundle_signature import Signer, Trust
from autosteer_core.bundle_tensors import MOST_BYTES as MOST_WEIGHT_BYTES
from autosteer_core.errors import BundleRefused, UserMistake
from autosteer_core.ports import BlobStore
from infra.open_store import open_store, scheme_of
from infra.plain_files import read_plain_file
from pipelines.settings import Settings
from pipelines.signing import trust_of

_LIMITS = {SIGNATURE: 2**16, CARD: MOST_CARD_BYTES, WEIGHTS: MOST_WEIGHT_BYTES}


@dataclass(frozen=True, slots=True)
class BundleReader:
    """How a worker reads bundles: by the trust of the run, not of its own machine, and only those that were planned.

    `planned` is address -> bundle id; at an address that is not in it any trusted bundle may lie.
    """

    trust: Trust = field(default_factory=Trust)
    planned: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, address: str | None) -> Bundle:
        """Raises BundleRefused as `load_bundle`, and where the bundle is not the one that was planned."""
        bundle = _load(address, self.trust)
        planned = self.planned.get(str(address), bundle.bundle_id)
        if bundle.bundle_id != planned:
            raise BundleRefused(
                f"the bundle at {address} is {bundle.bundle_id} now, the run began with {planned}: put that one "
                "back, or choose a new --out",
                "E_ARTIFACT_UNTRUSTED",
            )
        return bundle


def save_bundle(bundle: Bundle, address: str, signer: Signer) -> None:
    """Write and sign the bundle; the same bundle again is no change, another one there is refused.

    Raises:
        BundleRefused: it could not be read again, so it is not written.
    """
    store = open_store(address)
    files = to_files(bundle)
    from_files(files)
    if _differs(store, CARD, files[CARD]):
        raise _taken(store)
    if not store.put_if_absent(WEIGHTS, files[WEIGHTS]) and _differs(store, WEIGHTS, files[WEIGHTS]):
        raise _taken(store)
    _put_signature(store, files[CARD], signer)
    # Last, because a bundle is where a card is.
    if not store.put_if_absent(CARD, files[CARD]) and _differs(store, CARD, files[CARD]):
        raise _taken(store)


def sign_bundle(address: str, signer: Signer) -> Bundle:
    """Vouch for a bundle that lies there, whoever made it: everything but its signature is checked first.

    Raises:
        BundleRefused: damaged, or no bundle.
    """
    files = read_files(address)
    bundle = named_bundle(address, lambda: from_files(files))
    _put_signature(open_store(address), files[CARD], signer)
    return bundle


def refuse_another_bundle(address: str) -> None:
    """Said before the work, not after it."""
    store = open_store(address)
    if any(store.keys(CARD)):
        raise UserMistake(f"{store.describe()} holds a bundle already: choose a new --out")


def load_bundle(address: str | None, settings: Settings) -> Bundle:
    """Read and check the bundle at an address by this machine's keys and the settings.

    Raises:
        BundleRefused: no bundle there, or one that is not trusted, not sound or not a plain file.
    """
    return _load(address, trust_of(settings))


def read_files(address: str) -> dict[str, bytes]:
    """The bundle's files, each read once; a file that is missing is left out.

    Raises:
        UserMistake: E_PATH for what is no plain file.
        BundleRefused: none of the files is there.
    """
    found = {}
    for name, most in _LIMITS.items():
        try:
            found[name] = _read(address, name, most)
        except KeyError:
            continue
    if not found:
        raise BundleRefused(f"{open_store(address).describe()} holds no bundle: check --bundle")
    return found


def _load(address: str | None, trust: Trust) -> Bundle:
    if address is None:
        raise UserMistake(
            "no bundle was named: give --bundle, make one with `autosteer calibrate`, or follow a --registry"
        )
    files = read_files(address)
    return named_bundle(address, lambda: admit(files, trust).bundle)


def named_bundle(address: str, read: Callable[[], Bundle]) -> Bundle:
    """What is wrong with a bundle is worth little without where it lies."""
    try:
        return read()
    except BundleRefused as error:
        raise BundleRefused(f"bundle {open_store(address).describe()}: {error}", error.code) from None


def _read(address: str, name: str, most_bytes: int) -> bytes:
    """A folder is read by its own rules: what others put there may be a link or a pipe, which a bucket has not."""
    if scheme_of(address):
        return open_store(address).get(name)
    return read_plain_file(Path(address) / name, most_bytes)


def _put_signature(store: BlobStore, card: bytes, signer: Signer) -> None:
    """It may be replaced: a bundle can be signed again, by another key or at a later epoch."""
    signature = signer.signature(card)
    if _differs(store, SIGNATURE, signature, missing=True):
        store.put(SIGNATURE, signature)


def _differs(store: BlobStore, name: str, data: bytes, missing: bool = False) -> bool:
    try:
        return store.get(name) != data
    except KeyError:
        return missing


def _taken(store: BlobStore) -> UserMistake:
    return UserMistake(f"{store.describe()} holds another bundle: choose a new --out")
