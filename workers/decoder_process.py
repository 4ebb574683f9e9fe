"""Pictures are decoded in a small process of their own: what they do there costs their own row and nothing else."""

import json
import logging
import os
import socket
import subprocess
import sys
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
from workers.decoding_frames import LENGTH, receive_exactly, send_frame

log = logging.getLogger(__name__)

COMMAND = ("-m", "workers.decoder_child")

_MOST_HEAD = 4096
_MOST_MESSAGE = 500
_WALLS = ("limits", "network", "calls")


@dataclass(frozen=True, slots=True)
class DecoderPatience:
    """Seconds of silence after which the process counts as dead, and pictures after which a new one takes over.

    What computes for too long ends by itself, sooner: see `decoder_child`.
    """

    start: float = 60.0
    picture: float = 10.0
    pictures: int = 1000


@dataclass(slots=True)
class _Child:
    """A process that runs, our end of its line, and how much it has done."""

    process: subprocess.Popen[bytes]
    line: socket.socket
    pictures: int = 0

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
            try:
                return self._ask(data)
            except TimeoutError:
                _end(self._running)
                raise self._died(f"stood still for {self._patience.picture:g} s") from None
            except (EOFError, OSError):
                how = _how_it_ended(self._running)
                raise self._died(how) from None

    def _ask(self, data: bytes) -> Image.Image:
        child = self._child()
        child.pictures += 1
        send_frame(child.line, data)
        head = _head(child.line)
        if "code" in head:
            raise BadItem(*_flaw(head))
        width, height = _size(head)
        pixels = receive_exactly(child.line, width * height * 3)
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
            self._running.append(_Child(self._program(theirs), line))
        line.settimeout(self._patience.start)
        try:
            walls = _head(line).get("walls")
        except (EOFError, OSError) as error:
            how = _how_it_ended(self._running)
            raise TryAgain(
                f"the process that decodes pictures {how} while it started: see the worker's log"
            ) from error
        _tell(walls)
        line.settimeout(self._patience.picture)


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
    """With the number that the system gives; it is dead, or says what it should not and is killed for that."""
    if not running:
        return "ended"
    process = running[0].process
    with suppress(subprocess.TimeoutExpired):
        process.wait(1)
    code = process.poll()
    _end(running)
    if code is None:
        return "said what it should not"
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def _head(line: socket.socket) -> dict[str, Any]:
    (length,) = LENGTH.unpack(receive_exactly(line, LENGTH.size))
    if length > _MOST_HEAD:
        raise EOFError
    try:
        head = json.loads(receive_exactly(line, length))
    except (ValueError, RecursionError) as error:
        raise EOFError from error
    if not isinstance(head, dict):
        raise EOFError
    return head


def _flaw(head: Mapping[str, Any]) -> tuple[str, str]:
    """Of one of our own codes, in one line that can be printed: a process that was taken over may say anything."""
    code, message = head.get("code"), head.get("message")
    if not (isinstance(code, str) and isinstance(message, str)):
        raise EOFError
    if not (code.startswith("E_IMAGE_") and code.isascii() and code.replace("_", "").isalpha() and code.isupper()):
        raise EOFError
    return code, "".join(each if each.isprintable() else "?" for each in message[:_MOST_MESSAGE])


def _size(head: Mapping[str, Any]) -> tuple[int, int]:
    match head.get("size"):
        case [int(width), int(height)] if width > 0 and height > 0 and width * height <= LIMITS.max_pixels:
            return width, height
    raise EOFError


def _tell(walls: object) -> None:
    """Once a process, in the worker's log, what this machine cannot give."""
    missing = [wall for wall in _WALLS if not isinstance(walls, list) or wall not in walls]
    if missing:
        log.warning(
            "pictures are decoded without these walls, which this machine does not have: %s; what protects then is a "
            "process of its own without credentials or open files, with limits of memory and time",
            ", ".join(missing),
        )
