"""Inside a decoder process: give everything up, then decode picture after picture until the worker is gone.

Loads the standard library and Pillow, nothing else. The line to the worker is its standard input, both ways.
"""

import io
import json
import os
import signal
import struct
from collections.abc import Callable, Iterator

from PIL import Image

from autosteer_core.errors import BadItem
from autosteer_core.pictures import decode_picture
from workers.decoding_sandbox import enter

Decode = Callable[[bytes], Image.Image]

LINE = 0
# Of computing, for one picture: the largest take less than two seconds on a slow core.
CPU_SECONDS = 4.0

_LENGTH = struct.Struct("!Q")
_STRIP_PIXELS = 1_000_000


def main(decode: Decode = decode_picture, cpu_seconds: float = CPU_SECONDS) -> None:
    """Serve until the line ends; a picture that computes for longer ends the process."""
    _load_all_of_pillow()
    walls = enter()
    _send(json.dumps({"walls": walls}).encode())
    while (data := _receive()) is not None:
        _answer(decode, data, cpu_seconds)


def _load_all_of_pillow() -> None:
    """Now: later no file can be opened. A Pillow that lacks a format fails here, before the first picture."""
    for form in ("PNG", "JPEG", "WEBP"):
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, form)
        decode_picture(file.getvalue())
        for cut in (8, len(file.getvalue()) // 2):
            try:
                decode_picture(file.getvalue()[:cut])
            except BadItem:
                continue


def _answer(decode: Decode, data: bytes, cpu_seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)  # its signal kills
    try:
        picture = decode(data)
    except BadItem as error:
        return _send(json.dumps({"code": error.flaw.code, "message": error.flaw.message}).encode())
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    _send(json.dumps({"size": picture.size}).encode())
    for strip in _strips(picture):
        _write(strip)


def _strips(picture: Image.Image) -> Iterator[bytes]:
    """Three bytes a pixel, row by row."""
    width, height = picture.size
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        yield picture.crop((0, top, width, min(top + rows, height))).tobytes()


def _receive() -> bytes | None:
    head = _read(_LENGTH.size)
    return None if head is None else _read(_LENGTH.unpack(head)[0])


def _read(length: int) -> bytes | None:
    data = bytearray()
    while len(data) < length:
        piece = os.read(LINE, min(length - len(data), 2**20))
        if not piece:
            return None
        data += piece
    return bytes(data)


def _send(data: bytes) -> None:
    _write(_LENGTH.pack(len(data)))
    _write(data)


def _write(data: bytes) -> None:
    missing = memoryview(data)
    while missing:
        missing = missing[os.write(LINE, missing) :]


if __name__ == "__main__":
    main()
