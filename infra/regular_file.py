"""Open a file only if it is one: a pipe would keep us waiting for a writer, and a device never ends."""

import errno
import os
from io import BufferedReader
from pathlib import Path
from stat import S_ISDIR, S_ISREG

# Without O_NONBLOCK, opening a pipe waits for its writer.
WITHOUT_WAITING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_regular(path: Path) -> BufferedReader:
    """The file from the start; OSError, as `open` raises it, also for what is neither a file nor a link to one."""
    descriptor = os.open(path, WITHOUT_WAITING)
    try:
        require_regular(descriptor)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def require_regular(descriptor: int) -> None:
    """OSError if it is a folder, a pipe, a socket or a device."""
    mode = os.fstat(descriptor).st_mode
    if S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a file")
