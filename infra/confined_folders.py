"""Read files that surely lie below some folders: not by a link that leads out, not from a pipe or a device."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from autosteer_core.errors import BadItem
from infra.address import shown
from infra.regular_file import WITHOUT_WAITING, require_regular

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_FILE = WITHOUT_WAITING | os.O_NOFOLLOW


class ConfinedFolders:
    """Folders whose files may be read, and nothing else of this machine."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = [Path(os.path.realpath(root)) for root in roots]

    def read(self, path: str, most_bytes: int) -> bytes | None:
        """The first `most_bytes` bytes; None if there is no such file. A relative path is tried below each folder.

        Raises:
            BadItem: E_PATH_OUTSIDE_ROOT, whether there is something at that place or not; or E_IMAGE_NOT_FOUND for
                what is there and is not a file that can be read.
        """
        for root in self._roots:
            try:
                return self._read(root / path, path, most_bytes)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise BadItem(
                    "E_IMAGE_NOT_FOUND", f"image {shown(path)} cannot be read ({error.strerror}): check the file"
                ) from error
        return None

    def _read(self, place: Path, path: str, most_bytes: int) -> bytes:
        # Links are followed now, once; what then is opened must be no link any more.
        real = Path(os.path.realpath(place))
        home = next((root for root in self._roots if real.is_relative_to(root)), None)
        if home is None:
            raise BadItem(
                "E_PATH_OUTSIDE_ROOT", f"image {shown(path)} leads out of the folders of pictures: move it there"
            )
        return _read_below(home, real.relative_to(home).parts, most_bytes)


def _read_below(root: Path, names: Sequence[str], most_bytes: int) -> bytes:
    """Name by name, so that a folder which becomes a link in between is not followed."""
    with ExitStack() as opened:
        folder = _opened(opened, str(root), _FOLDER, None)
        for name in names[:-1]:
            folder = _opened(opened, name, _FOLDER, folder)
        file = _opened(opened, names[-1] if names else ".", _FILE, folder)
        require_regular(file)
        with os.fdopen(file, "rb", closefd=False) as reader:
            return reader.read(most_bytes)


def _opened(opened: ExitStack, name: str, flags: int, folder: int | None) -> int:
    descriptor = os.open(name, flags, dir_fd=folder)
    opened.callback(os.close, descriptor)
    return descriptor
