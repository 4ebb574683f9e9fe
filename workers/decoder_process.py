"""Pictures are decoded in a small process of their own: what they do there costs their own row and nothing else."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import finalize

import PIL
from PIL import Image

import autosteer_core
import workers
from autosteer_core.errors import BadItem, TryAgain
from autosteer_core.pictures import LIMITS, check_length
from workers.decoding_frames import LENGTH, send_frame

log = logging.getLogger(__name__)

COMMAND = ("-m", "workers.decoder_child")

_MOST_HEAD = 4096
_MOST_MESSAGE = 500
# No picture does that: when memory is short, the kernel kills whoever is at hand. So it is asked a second time.
_KILLED = f"was killed by signal {signal.SIGKILL}"
_WALLS = ("limits", "network", "calls")


@dataclass(frozen=True, slots=True)
class DecoderPatience:
    """Seconds of silence after which the process counts as dead, and pictures after which a new one takes over.

    What computes for too long ends by itself, sooner: see `decoder_child`.
    """

    start: float = 60.0
    picture: float = 10.0
    pictures: int = 1000


class _Untrue(Exception):
    """The process says what none of ours would say: somebody else speaks."""


@dataclass(slots=True)
class _Child:
    """A process that runs, our end of its line, and how much it has done."""

    process: subprocess.Popen[bytes]
    line: socket.socket
    pictures: int = 0
    deadline: float = 0.0

    def wait_until(self, seconds: float) -> None:
        """From now, for all that is sent and received until it is called again."""
        self.deadline = time.monotonic() + seconds
        self.line.settimeout(seconds)

    def receive(self, length: int) -> bytearray:
        """So many bytes; raises EOFError, or TimeoutError however many came: one that drips is silent too."""
        data = bytearray(length)
        missing = memoryview(data)
        while missing:
            self.line.settimeout(max(0.001, self.deadline - time.monotonic()))
            count = self.line.recv_into(missing)
            if not count:
                raise EOFError
            missing = missing[count:]
        return data

    def end(self) -> None:
        """Kill it; safe to call twice."""
        self.line.close()
        self.process.kill()
        self.process.wait()


class DecoderProcess:
    """The PictureDecoder port over one process, which starts with the first picture; any thread may ask, in turn.

    The process has no environment but the way to its libraries, no credentials, no network, no open file but its
    line, and at most 512 MiB of addresses. It speaks JSON and raw pixels, which are checked here.
    """

    def __init__(self, patience: DecoderPatience | None = None, command: Sequence[str] = COMMAND) -> None:
        self._patience = patience or DecoderPatience()
        self._command = command
        self._lock = Lock()
        self._running: list[_Child] = []
        self._end = finalize(self, _end, self._running)

    @property
    def pid(self) -> int | None:
        """Of the process that runs now, if one does."""
        return next((child.process.pid for child in self._running), None)

    def close(self) -> None:
        """End the process; the next picture starts another."""
        with self._lock:
            _end(self._running)

    def decode(self, data: bytes) -> Image.Image:
        """As `decode_picture`; E_DECODER_DIED for a picture that kills the process, or makes it stand still.

        Raises:
            BadItem: the picture cannot be decoded.
            TryAgain: no process can be started.
        """
        check_length(data)
        with self._lock:
            found = self._attempt(data)
            if found == _KILLED:
                found = self._attempt(data)
        if isinstance(found, str):
            raise self._died(found)
        return found

    def _attempt(self, data: bytes) -> Image.Image | str:
        """The picture, or how the process came to its end."""
        try:
            return self._ask(data)
        except _Untrue:
            how = "said what it should not"
        except TimeoutError:
            how = f"stood still for {self._patience.picture:g} s"
        except (EOFError, OSError):
            return _how_it_ended(self._running)
        _end(self._running)
        return how

    def _ask(self, data: bytes) -> Image.Image:
        child = self._child()
        child.pictures += 1
        child.wait_until(self._patience.picture)
        send_frame(child.line, data)
        head = _head(child)
        if "code" in head:
            raise BadItem(*_flaw(head))
        width, height = _size(head)
        pixels = child.receive(width * height * 3)
        return Image.frombytes("RGB", (width, height), pixels)

    def _died(self, how: str) -> BadItem:
        return BadItem(
            "E_DECODER_DIED",
            f"the process that decodes pictures {how} over this picture alone: save it anew, or leave it out",
        )

    def _child(self) -> _Child:
        """The process that runs, unless it has died meanwhile or done enough."""
        running = next(iter(self._running), None)
        if running is not None and running.process.poll() is None and running.pictures < self._patience.pictures:
            return running
        _end(self._running)
        self._start()
        return self._running[0]

    def _program(self, line: socket.socket) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [sys.executable, "-S", "-P", "-B", *self._command],
                env=_environment(),
                cwd="/",
                stdin=line.fileno(),
                stdout=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is the worker's business
            )
        except OSError as error:
            raise TryAgain(f"no process can be started to decode pictures in: {error}") from error

    def _start(self) -> None:
        line, theirs = socket.socketpair()
        with theirs:
            child = _Child(self._program(theirs), line)
        self._running.append(child)
        child.wait_until(self._patience.start)
        try:
            walls = _head(child).get("walls")
        except (EOFError, OSError, _Untrue) as error:
            how = _how_it_ended(self._running)
            raise TryAgain(
                f"the process that decodes pictures {how} while it started: see the worker's log"
            ) from error
        _tell(walls)


def _environment() -> dict[str, str]:
    """Where Pillow and our own modules are; no other path, no secret, no address."""
    roots = dict.fromkeys(
        str(Path(str(each.__file__)).resolve().parents[1]) for each in (workers, autosteer_core, PIL)
    )
    return {"PYTHONPATH": os.pathsep.join(roots), "LC_ALL": "C.UTF-8"}


def _end(running: list[_Child]) -> None:
    while running:
        running.pop().end()


def _how_it_ended(running: list[_Child]) -> str:
    """With the number that the system gives; one that only let go of its line is killed."""
    if not running:
        return "ended"
    process = running[0].process
    with suppress(subprocess.TimeoutExpired):
        process.wait(1)
    code = process.poll()
    _end(running)
    if code is None:
        return "let go of its line"
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def _head(child: _Child) -> dict[str, Any]:
    (length,) = LENGTH.unpack(child.receive(LENGTH.size))
    if length > _MOST_HEAD:
        raise _Untrue
    try:
        head = json.loads(child.receive(length))
    except (ValueError, RecursionError) as error:
        raise _Untrue from error
    if not isinstance(head, dict):
        raise _Untrue
    return head


def _flaw(head: Mapping[str, Any]) -> tuple[str, str]:
    """Of one of our own codes, in one line that can be printed: a process that was taken over may say anything."""
    code, message = head.get("code"), head.get("message")
    if not (isinstance(code, str) and isinstance(message, str)):
        raise _Untrue
    if not (code.startswith("E_IMAGE_") and code.isascii() and code.replace("_", "").isalpha() and code.isupper()):
        raise _Untrue
    return code, "".join(each if each.isprintable() else "?" for each in message[:_MOST_MESSAGE])


def _size(head: Mapping[str, Any]) -> tuple[int, int]:
    match head.get("size"):
        case [int(width), int(height)] if width > 0 and height > 0 and width * height <= LIMITS.max_pixels:
            return width, height
    raise _Untrue


def _tell(walls: object) -> None:
    """Once a process, in the worker's log, what this machine cannot give."""
    missing = [wall for wall in _WALLS if not isinstance(walls, list) or wall not in walls]
    if missing:
        log.warning(
            "pictures are decoded without these walls, which this machine does not have: %s; what protects then is a "
            "process of its own without credentials or open files, with limits of memory and time",
            ", ".join(missing),
        )
