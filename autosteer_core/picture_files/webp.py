"""WebP files: sizes inside must agree, and only the chunks that make the pixels are kept."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from autosteer_core.picture_files.exif import UPRIGHT, orientation
from autosteer_core.picture_files.flaws import animated, corrupt, metadata, truncated
from autosteer_core.picture_files.still import MOST_PIECES, Still

NAME = "WebP"
MAGIC = b"RIFF"

_PIXELS, _LOSSLESS, _EXTENDED = b"VP8 ", b"VP8L", b"VP8X"
_KEPT = {_PIXELS, _LOSSLESS, b"ALPH"}
_HEAD = struct.Struct("<4sI")
_ALPHA, _ANIMATION = 0x10, 0x02


class Chunk(NamedTuple):
    """One part of the file, without its head and padding."""

    name: bytes
    body: memoryview


def is_one(data: bytes) -> bool:
    """RIFF holds many kinds of file."""
    return data[:4] == MAGIC and data[8:12] == b"WEBP"


def size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas; raises BadItem if its first chunk does not tell."""
    first = next(_chunks(data), None)
    if first is None:
        raise corrupt(NAME, "it is empty by its own account")
    return _size_of(first)


def still(data: bytes) -> Still:
    """The file without metadata; raises BadItem if it is damaged, cut off or animated."""
    kept: list[Chunk] = []
    turned, canvas = UPRIGHT, size(data)
    for number, chunk in enumerate(_chunks(data)):
        if number > MOST_PIECES:
            raise metadata(NAME, f"has more than {MOST_PIECES:,} chunks")
        if _is_animation(chunk):
            raise animated(NAME, "an animation")
        if chunk.name == b"EXIF":
            turned = orientation(bytes(chunk.body))
        if chunk.name == _EXTENDED and number == 0:
            chunk = _without_metadata(chunk)
        if number == 0 or chunk.name in _KEPT:
            kept.append(chunk)
    _check([chunk for chunk in kept if chunk.name != _EXTENDED], canvas)
    return Still(_file(kept), turned)


def _is_animation(chunk: Chunk) -> bool:
    marked = chunk.name == _EXTENDED and int.from_bytes(chunk.body[:1]) & _ANIMATION
    return bool(marked) or chunk.name in {b"ANIM", b"ANMF"}


def _without_metadata(chunk: Chunk) -> Chunk:
    """An extended header that says no more than whether there is transparency, and the size."""
    return Chunk(chunk.name, memoryview(bytes([chunk.body[0] & _ALPHA]) + chunk.body[1:]))


def _check(kept: list[Chunk], canvas: tuple[int, int]) -> None:
    pictures = [chunk for chunk in kept if chunk.name != b"ALPH"]
    if len(pictures) != 1 or len(kept) > 2:
        raise corrupt(NAME, f"it has {len(pictures)} pictures, 1 expected")
    if _size_of(pictures[0]) != canvas:
        raise corrupt(NAME, "its picture has another size than its canvas")


def _chunks(data: bytes) -> Iterator[Chunk]:
    view, (_, length) = memoryview(data), _HEAD.unpack_from(data)
    end, at = 8 + length, 12
    if end > len(data):
        raise truncated(NAME, f"after {len(data):,} of {end:,} bytes")
    while at < end:
        if at + _HEAD.size > end:
            raise corrupt(NAME, f"there is no chunk at byte {at:,}")
        name, length = _HEAD.unpack_from(data, at)
        start, at = at + 8, at + 8 + length + length % 2
        if start + length > end:
            raise corrupt(NAME, f"its chunk at byte {start - 8:,} is longer than the file says that it is")
        yield Chunk(name, view[start : start + length])


def _size_of(chunk: Chunk) -> tuple[int, int]:
    body = chunk.body
    if chunk.name == _EXTENDED and len(body) == 10:
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk.name == _PIXELS and bytes(body[3:6]) == b"\x9d\x01\x2a" and len(body) >= 10:
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    if chunk.name == _LOSSLESS and len(body) >= 5 and body[0] == 0x2F:
        (packed,) = struct.unpack_from("<I", body, 1)
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    raise corrupt(NAME, "it does not begin with a picture's header")


def _file(kept: list[Chunk]) -> bytes:
    body = b"".join(_HEAD.pack(name, len(data)) + data + b"\0" * (len(data) % 2) for name, data in kept)
    return _HEAD.pack(MAGIC, 4 + len(body)) + b"WEBP" + body
