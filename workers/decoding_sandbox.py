"""What a process gives up for good before it sees a stranger's bytes.

Everywhere: memory, files, sizes of files, processes and dumps are limited, and no file can be opened any more. On
Linux also the network, and every call to the kernel that decoding does not need. `enter` says which of them it got.
"""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress

from workers.decoding_filter import allow_only_decoding

MEMORY_BYTES = 512 * 2**20

_DEATH_SIGNAL, _NOT_DUMPABLE = 1, 4
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000


def enter(memory_bytes: int = MEMORY_BYTES) -> list[str]:
    """Names of the walls that stand now: `limits`, and where the kernel lets it `network` and `calls`."""
    walls = ["limits"]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_NOT_DUMPABLE, 0, 0, 0, 0)
        # A name space of users first: whoever is root is root of nothing but that one.
        if libc.unshare(_NEW_USER | _NEW_NETWORK) == 0:
            walls.append("network")
    _limit(memory_bytes)
    if sys.platform == "linux" and allow_only_decoding():
        walls.append("calls")
    return walls


def _limit(memory_bytes: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)  # what a stranger's picture says must not stand in the worker's log
    os.closerange(3, 4096)
    for kind, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),  # those that are open stay open
    ):
        with suppress(OSError, ValueError):  # a limit that this system does not have, or already a lower one
            resource.setrlimit(kind, (most, most))
