"""A decoder process that has been taken over: it does what the bytes behind a picture tell it."""

import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from autosteer_core.errors import BadItem
from autosteer_core.pictures import decode_picture
from workers import decoder_child

MARK = b"deed:"
_TARGET = f"{tempfile.gettempdir()}/autosteer-hostile"


def act(data: bytes) -> Image.Image:
    """The picture, and before that the deed."""
    picture, _, deed = data.partition(MARK)
    if deed:
        DEEDS[deed.decode()]()
    return decode_picture(picture)


def _spin() -> None:
    while True:
        pass


def _fill_memory() -> None:
    held = []
    while True:
        held.append(bytearray(2**24))


def _fill_memory_in_small_pieces() -> None:
    held = []
    while True:
        held.append(bytes(1000))


def _claim_a_gigabyte() -> None:
    _say(json.dumps({"size": [40_000, 40_000]}).encode())


def _claim_no_size() -> None:
    _say(json.dumps({"size": [-1, "a"]}).encode())


def _speak_nonsense() -> None:
    _say(b"\xff" * 100)


def _nest_deeply() -> None:
    _say(b"[" * 4000)


def _claim_a_long_head() -> None:
    os.write(decoder_child.LINE, struct.pack("!Q", 2**62))


def _lie_about_the_code() -> None:
    _say(json.dumps({"code": "answer\nE_FINE", "message": "hm"}).encode())


def _say(head: bytes) -> None:
    os.write(decoder_child.LINE, struct.pack("!Q", len(head)) + head)


def _send_half_and_go() -> None:
    _say(json.dumps({"size": [40, 40]}).encode())
    os._exit(0)


def _drip() -> None:
    _say(json.dumps({"size": [40, 40]}).encode())
    never = threading.Lock()
    never.acquire()
    while True:
        never.acquire(timeout=0.1)
        os.write(decoder_child.LINE, b"a")


def _stand_still() -> None:
    os.read(decoder_child.LINE, 1)


def _break_out() -> None:
    """Everything that it must not be able to do, and what came of it."""
    came = {name: _tried(deed) for name, deed in ATTEMPTS.items()}
    came["secrets"] = ",".join(sorted(os.environ))
    raise BadItem("E_IMAGE_PROBE", " ".join(f"{name}={what}" for name, what in came.items()))


def _tried(deed: Callable[[], object]) -> str:
    try:
        deed()
    except BaseException as error:  # noqa: BLE001  (whatever stops it is told)
        return errno.errorcode[error.errno] if isinstance(error, OSError) and error.errno else type(error).__name__
    return "done"


def _connect() -> None:
    with socket.socket() as line:
        line.connect(("127.0.0.1", int(sys.argv[1])))


ATTEMPTS: dict[str, Callable[[], object]] = {
    "connect": _connect,
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "fork": os.fork,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "read": lambda: Path("/etc/passwd").read_text(),
    "write": lambda: Path(_TARGET).write_text("hm"),
    "kill": lambda: os.kill(os.getppid(), signal.SIGTERM),
    "code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "list": lambda: os.listdir("/"),
}
DEEDS: dict[str, Callable[[], object]] = {
    "segv": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "exit": lambda: os._exit(7),
    "spin": _spin,
    "memory": _fill_memory,
    "small pieces": _fill_memory_in_small_pieces,
    "gigabyte": _claim_a_gigabyte,
    "no size": _claim_no_size,
    "nonsense": _speak_nonsense,
    "nested": _nest_deeply,
    "long head": _claim_a_long_head,
    "lie": _lie_about_the_code,
    "half": _send_half_and_go,
    "drip": _drip,
    "still": _stand_still,
    "break out": _break_out,
    "sleep": lambda: time.sleep(3600),
}

if __name__ == "__main__":
    decoder_child.main(act, float(sys.argv[2]))
