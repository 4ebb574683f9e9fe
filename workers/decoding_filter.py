"""The kernel's list of calls that a process may still make: to read, write, take memory, tell time and end.

Everything else - sockets, files, programs, processes, signals to others - fails with EPERM, and so does memory that
can be run as code. The list cannot be taken back by anybody.
"""

import ctypes
import errno
import platform
import struct

_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_CALL, _MACHINE, _THIRD_ARGUMENT = 0, 4, 32  # where the kernel puts them
_RUNNABLE = 4  # PROT_EXEC

# The machine's audit number; calls that are allowed; calls whose third argument may make memory runnable.
_MACHINES = {
    "x86_64": (
        0xC000003E,
        {
            "read": 0, "write": 1, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14,
            "rt_sigreturn": 15, "sched_yield": 24, "mremap": 25, "madvise": 28, "setitimer": 38, "getpid": 39,
            "exit": 60, "gettimeofday": 96, "getrusage": 98, "sigaltstack": 131, "gettid": 186, "futex": 202,
            "restart_syscall": 219, "clock_gettime": 228, "exit_group": 231, "getrandom": 318,
        },
        {"mmap": 9, "mprotect": 10},
    ),
    "aarch64": (
        0xC00000B7,
        {
            "read": 63, "write": 64, "exit": 93, "exit_group": 94, "futex": 98, "setitimer": 103,
            "clock_gettime": 113, "sched_yield": 124, "restart_syscall": 128, "sigaltstack": 132,
            "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "getrusage": 165, "gettimeofday": 169,
            "getpid": 172, "gettid": 178, "brk": 214, "munmap": 215, "mremap": 216, "madvise": 233,
            "getrandom": 278,
        },
        {"mmap": 222, "mprotect": 226},
    ),
}  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def allow_only_decoding() -> bool:
    """From now on, for good; False where this kernel or machine knows no such list."""
    known = _MACHINES.get(platform.machine())
    if known is None:
        return False
    steps = _steps(known[0], list(known[1].values()), list(known[2].values()))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    program = _Program(len(steps), b"".join(steps))
    return bool(libc.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def _steps(machine: int, allowed: list[int], mapping: list[int]) -> list[bytes]:
    """A jump tells how many steps to skip if it is so, and if it is not."""
    calls = [*mapping, *allowed]
    # Behind the comparisons: fail, look at the third argument (two steps), allow, fail.
    looks = [
        _step(_EQUAL, call, len(calls) - place + (0 if call in mapping else 2), 0) for place, call in enumerate(calls)
    ]
    return [
        _step(_LOAD, _MACHINE),
        _step(_EQUAL, machine, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _CALL),
        *looks,
        _step(_RETURN, _FAIL),
        _step(_LOAD, _THIRD_ARGUMENT),
        _step(_ANY_BIT, _RUNNABLE, 1, 0),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _FAIL),
    ]


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)
