"""This machine's signing key: made once, readable by its owner only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from autosteer_core.errors import UserMistake
from infra.plain_files import read_plain_file

_CODE = "E_SIGNING_KEY"
_MOST_BYTES = 4_096


def key_file() -> Path:
    """Below $XDG_CONFIG_HOME, else ~/.config."""
    folder = os.environ.get("XDG_CONFIG_HOME")
    root = Path(folder) if folder else Path(os.path.expanduser("~")) / ".config"
    return root / "autosteer" / "signing-key.pem"


def own_key(path: Path) -> Ed25519PrivateKey | None:
    """The key, None where none was made yet.

    Raises:
        UserMistake: others may read or replace it, or it is no Ed25519 key.
    """
    try:
        data = read_plain_file(path, _MOST_BYTES)
    except KeyError:
        return None
    _require_private(path, 0o077)
    _require_private(path.parent, 0o022)
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise _unusable(path, f"is not readable ({type(error).__name__})") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable(path, "is no Ed25519 key")
    return key


def make_key(path: Path) -> Ed25519PrivateKey:
    """The key, made where there is none; of two processes that make one at once, both get the first one's."""
    found = own_key(path)
    if found is not None:
        return found
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _written(path.parent / f".{uuid4().hex}", pem) as temp:
            _named(temp, path)
    except OSError as error:
        raise UserMistake(
            f"the signing key {path} cannot be written ({error.strerror}): set XDG_CONFIG_HOME to one of yours",
            _CODE,
        ) from error
    return make_key(path)


@contextmanager
def _written(temp: Path, data: bytes) -> Iterator[Path]:
    """A file of the owner's own from its first moment, on the disk; gone again afterwards."""
    descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        yield temp
    finally:
        temp.unlink()


def _named(temp: Path, path: Path) -> None:
    try:
        os.link(temp, path)  # unlike a rename, a link never replaces
    except FileExistsError:
        return


def _require_private(path: Path, forbidden: int) -> None:
    """The mode is asked for after the file was opened: who may change it in between owns it anyway."""
    found = path.stat()
    if found.st_mode & forbidden or found.st_uid != os.geteuid():
        raise UserMistake(
            f"{path} has mode {found.st_mode & 0o777:04o} and owner {found.st_uid}, expected nobody but user "
            f"{os.geteuid()} to have access: chmod go= {path}, or make a new key if others may have read it",
            _CODE,
        )


def _unusable(path: Path, what: str) -> UserMistake:
    return UserMistake(f"the signing key {path} {what}: move it away, and sign your bundles with the next one", _CODE)
