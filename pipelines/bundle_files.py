"""A bundle in a folder or under an s3:// prefix."""

from autosteer_core.bundle import Bundle, from_files, to_files
from autosteer_core.errors import UserMistake
from infra.open_store import open_store

NAMES = ("card.json", "weights.safetensors")


def save_bundle(bundle: Bundle, address: str) -> None:
    """Write the bundle; the same bundle again is no change, another one there is refused."""
    store = open_store(address)
    files = to_files(bundle)
    for name in reversed(NAMES):
        if not store.put_if_absent(name, files[name]) and store.get(name) != files[name]:
            raise UserMistake(f"{store.describe()} holds another bundle: choose a new --out")


def refuse_another_bundle(address: str) -> None:
    """Said before the work, not after it."""
    store = open_store(address)
    if any(store.keys(NAMES[0])):
        raise UserMistake(f"{store.describe()} holds a bundle already: choose a new --out")


def load_bundle(address: str | None) -> Bundle:
    """Read and check the bundle; raises UserMistake where there is none."""
    if address is None:
        raise UserMistake("no bundle was named: give --bundle, or make one with `autosteer calibrate`")
    store = open_store(address)
    try:
        return from_files({name: store.get(name) for name in NAMES})
    except KeyError as error:
        raise UserMistake(f"{store.describe()} holds no bundle ({error} is missing): check --bundle") from error
