"""The bundles of a registry as bytes: each below its own id, so the name vouches for what lies there."""

import hashlib
from collections.abc import Mapping

from autosteer_core.bundle_names import CARD, SIGNATURE, WEIGHTS
from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.values import BundleId

BUNDLES = "bundles/"


def put_bundle(store: BlobStore, files: Mapping[str, bytes]) -> BundleId:
    """Write a bundle that was read before; what is damaged or lost of the same one is mended.

    The card comes last, because a bundle is where a card is.
    """
    bundle_id = id_of(files)
    for name in (WEIGHTS, SIGNATURE, CARD):
        if name in files:
            _put(store, _key(bundle_id, name), files[name])
    return bundle_id


def get_bundle(store: BlobStore, bundle_id: BundleId) -> dict[str, bytes]:
    """Its files as they lie there, not yet read.

    Raises:
        UserMistake: E_REGISTRY_BUNDLE, a file is gone, or the card is another bundle's.
    """
    found = {}
    for name in (CARD, WEIGHTS, SIGNATURE):
        try:
            found[name] = store.get(_key(bundle_id, name))
        except KeyError:
            continue
    lost = sorted({CARD, WEIGHTS} - set(found))
    if lost or id_of(found) != bundle_id:
        what = f"has no {lost[0]}" if lost else f"holds the card of bundle {id_of(found)}"
        raise UserMistake(
            f"{store.describe()}/{BUNDLES}{bundle_id} {what}: publish the same bundle again; what serves stays",
            "E_REGISTRY_BUNDLE",
        )
    return found


def id_of(files: Mapping[str, bytes]) -> BundleId:
    """First 16 hex digits of the card's SHA-256, as `Bundle.bundle_id`."""
    return BundleId(hashlib.sha256(files[CARD]).hexdigest()[:16])


def _put(store: BlobStore, key: str, data: bytes) -> None:
    if not store.put_if_absent(key, data) and store.get(key) != data:
        store.put(key, data)


def _key(bundle_id: BundleId, name: str) -> str:
    return f"{BUNDLES}{bundle_id}/{name}"
