"""Files that others may have put in place: read once, up to a limit, and only where they are plain files."""

import errno
import os
from pathlib import Path
from stat import S_ISDIR, S_ISFIFO, S_ISREG

from autosteer_core.errors import UserMistake


def read_plain_file(path: Path, most_bytes: int, follow: bool = False) -> bytes:
    """The file's bytes. A link is refused unless `follow`; a pipe or a device is refused without waiting for it.

    Raises:
        KeyError: there is no such file.
        UserMistake: E_PATH for what is no plain file, E_ARTIFACT_CORRUPT for more than `most_bytes`.
    """
    descriptor = _opened(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    found = os.fstat(descriptor)
    if not S_ISREG(found.st_mode):
        os.close(descriptor)
        raise _not_plain(path, _kind(found.st_mode))
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(most_bytes + 1) if found.st_size <= most_bytes else b""
    if max(found.st_size, len(data)) > most_bytes:
        raise UserMistake(
            f"{path} has {found.st_size:,} bytes, expected at most {most_bytes:,}: check that it is the right file",
            "E_ARTIFACT_CORRUPT",
        )
    return data


def _opened(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags)
    except OSError as error:
        raise _unopened(path, error) from None


def _unopened(path: Path, error: OSError) -> Exception:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return KeyError(path.name)
    if error.errno == errno.ELOOP:
        return _not_plain(path, "link")
    if error.errno in (errno.ENXIO, errno.ENODEV):
        return _not_plain(path, "socket or a device")
    return UserMistake(f"{path} cannot be read ({error.strerror}): check its permissions and its disk")


def _kind(mode: int) -> str:
    if S_ISDIR(mode):
        return "folder"
    return "pipe" if S_ISFIFO(mode) else "device"


def _not_plain(path: Path, kind: str) -> UserMistake:
    return UserMistake(f"{path} is a {kind}, expected a plain file: put the file itself there", "E_PATH")
