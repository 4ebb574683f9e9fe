"""The files of a manifest, wherever they lie, and the images beside them."""

import hashlib
from collections.abc import Sequence
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Protocol

from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from infra.picture_places import Pictures
from infra.regular_file import open_regular


class ManifestFiles(Protocol):
    """Files under one root; names are relative paths with `/`."""

    names: Sequence[str]

    def open(self, name: str) -> BufferedIOBase:
        """The bytes from the start; UserMistake if they cannot be had."""
        ...

    def image(self, path: str) -> bytes:
        """An image that a row names, by a path or an address; BadItem if it cannot be had."""
        ...

    def describe(self, name: str) -> str:
        """The file's full address, for a person."""
        ...


def sha256_of(file: BufferedIOBase) -> str:
    """The digest of what is left to read."""
    return hashlib.file_digest(file, "sha256").hexdigest()


class LocalFiles:
    """Files in a folder of this machine; `pictures` reads what rows name, by default below that folder."""

    def __init__(self, root: Path, names: Sequence[str], pictures: Pictures | None = None) -> None:
        self._root = root
        self._pictures = pictures or Pictures([root], [])
        self.names = names

    def open(self, name: str) -> BufferedIOBase:
        try:
            return open_regular(self._root / name)
        except OSError as error:
            raise UserMistake(
                f"{self.describe(name)} cannot be read ({error.strerror}): check the path and its permissions",
                "E_ACCESS" if isinstance(error, PermissionError) else "E_PATH",
            ) from error

    def image(self, path: str) -> bytes:
        return self._pictures.read(path)

    def describe(self, name: str) -> str:
        return str(self._root / name)


class StoredFiles:
    """Files in a blob store; the latest one is kept in memory, because parts of a file come in a row."""

    def __init__(self, store: BlobStore, names: Sequence[str], pictures: Pictures | None = None) -> None:
        self._store = store
        self._pictures = pictures or Pictures([], [store])
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
        return self._pictures.read(path)

    def describe(self, name: str) -> str:
        return f"{self._store.describe()}/{name}"
