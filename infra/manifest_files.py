"""The files of a manifest, wherever they lie, and the images beside them."""

import hashlib
from collections.abc import Sequence
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Protocol

from autosteer_core.errors import BadItem, UserMistake
from autosteer_core.ports import BlobStore
from infra.blob_key import checked_key
from infra.row_to_item import MAX_IMAGE_BYTES


class ManifestFiles(Protocol):
    """Files under one root; names are relative paths with `/`."""

    names: Sequence[str]

    def open(self, name: str) -> BufferedIOBase:
        """The bytes from the start; UserMistake if they cannot be had."""
        ...

    def image(self, path: str) -> bytes:
        """An image that a row refers to, relative to the root; BadItem if there is none."""
        ...

    def describe(self, name: str) -> str:
        """The file's full address, for a person."""
        ...


def sha256_of(file: BufferedIOBase) -> str:
    """The digest of what is left to read."""
    return hashlib.file_digest(file, "sha256").hexdigest()


class LocalFiles:
    """Files in a folder of this machine."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root = root
        self.names = names

    def open(self, name: str) -> BufferedIOBase:
        try:
            return (self._root / name).open("rb")
        except OSError as error:
            raise UserMistake(
                f"{self.describe(name)} cannot be read ({error.strerror}): check the path and its permissions"
            ) from error

    def image(self, path: str) -> bytes:
        file = self._resolved(_confined(path))
        if not file.is_relative_to(self._root.resolve()):
            raise BadItem("E_PATH_OUTSIDE_ROOT", f"image {path!r} leads out of the manifest's folder")
        if not file.is_file():  # a pipe or a device could be read for ever
            raise BadItem("E_IMAGE_MISSING", f"image {path!r} is not a file in the manifest's folder")
        try:
            with file.open("rb") as opened:
                return opened.read(MAX_IMAGE_BYTES + 1)
        except OSError as error:
            raise BadItem("E_IMAGE_MISSING", f"image {path!r} cannot be read: {error.strerror}") from error

    def describe(self, name: str) -> str:
        return str(self._root / name)

    def _resolved(self, path: str) -> Path:
        try:
            return (self._root / path).resolve()
        except (OSError, RuntimeError) as error:  # links that lead in a circle
            raise BadItem("E_IMAGE_MISSING", f"image {path!r} cannot be found: {error}") from error


class StoredFiles:
    """Files in a blob store; the latest one is kept in memory, because parts of a file come in a row."""

    def __init__(self, store: BlobStore, names: Sequence[str]) -> None:
        self._store = store
        self._latest = ("", b"")
        self.names = names

    def open(self, name: str) -> BufferedIOBase:
        if name != self._latest[0]:
            try:
                self._latest = (name, self._store.get(name))
            except KeyError:
                raise UserMistake(f"{self.describe(name)} does not exist: check the address") from None
        return BytesIO(self._latest[1])

    def image(self, path: str) -> bytes:
        """By its path, or by its whole address below the manifest's own."""
        below = path.removeprefix(f"{self._store.describe()}/")
        if below.startswith("s3://"):
            raise BadItem("E_PATH_OUTSIDE_ROOT", f"image {path!r:.200} does not lie below {self._store.describe()}")
        key = _confined(below)
        try:
            return self._store.get(key)
        except KeyError:
            raise BadItem("E_IMAGE_MISSING", f"image {path!r} does not exist beside the manifest") from None

    def describe(self, name: str) -> str:
        return f"{self._store.describe()}/{name}"


def _confined(path: str) -> str:
    """The path as a key below the manifest's folder."""
    if "://" in path:
        raise BadItem("E_URI_FORBIDDEN", "an image is given as a URL: give bytes or a path, nothing is fetched")
    try:
        return checked_key(path.removeprefix("./"))
    except UserMistake as error:
        raise BadItem(
            "E_PATH_OUTSIDE_ROOT", f"image path {path!r:.200} is not a plain path below the manifest's folder"
        ) from error
