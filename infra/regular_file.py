"""Open a file only if it is one: a pipe would keep us waiting for a writer, and a device never ends."""

import errno
import os
from io import BufferedReader
from pathlib import Path
from stat import S_ISREG

# Without O_NONBLOCK, opening a pipe waits for its writer.
WITHOUT_WAITING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_regular(path: Path) -> BufferedReader:
    """The file from the start; OSError, as `open` raises it, also for what is neither a file nor a link to one."""
    file = os.fdopen(os.open(path, WITHOUT_WAITING), "rb")
    try:
        require_regular(file.fileno())
    except BaseException:
        file.close()
        raise
    return file


def require_regular(descriptor: int) -> None:
    """OSError if it is a pipe, a socket or a device."""
    if not S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "it is not a file")
