"""PNG files: every chunk's checksum is compared, and only the chunks that make the pixels are kept."""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from autosteer_core.errors import BadItem
from autosteer_core.picture_files.exif import UPRIGHT, orientation
from autosteer_core.picture_files.flaws import animated, corrupt, metadata, truncated
from autosteer_core.picture_files.png_rows import has_all_rows
from autosteer_core.picture_files.still import MOST_PIECES, Still, joined

NAME = "PNG"
MAGIC = b"\x89PNG\r\n\x1a\n"

_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_HEAD = struct.Struct(">I4s")
_HEADER = slice(16, 29)
_AROUND = 12  # length, name and checksum
# All compressed texts and profiles of a file together. A real profile is below 4 MiB, a real text far below.
_MOST_INFLATED = 8 * 2**20


class Chunk(NamedTuple):
    """`start` to `end` with length and checksum around the body."""

    name: bytes
    body: memoryview
    start: int
    end: int


def size(data: bytes) -> tuple[int, int]:
    """Width and height by the header; raises BadItem if there is no whole one."""
    first = next(_chunks(data))
    if first.name != b"IHDR" or len(first.body) != 13:
        raise corrupt(NAME, "it does not begin with a header of 13 bytes")
    width, height = struct.unpack_from(">II", first.body)
    return width, height


def still(data: bytes) -> Still:
    """The file without metadata; raises BadItem if it is damaged, cut off, animated or hides a bomb."""
    kept, turned, budget, rows = [(0, len(MAGIC))], UPRIGHT, _MOST_INFLATED, list[memoryview]()
    for number, chunk in enumerate(_chunks(data)):
        if number > MOST_PIECES:
            raise metadata(NAME, f"has more than {MOST_PIECES:,} chunks")
        if chunk.name in _KEPT:
            kept.append((chunk.start, chunk.end))
            rows += [chunk.body] if chunk.name == b"IDAT" else []
        elif chunk.name == b"eXIf":
            turned = orientation(bytes(chunk.body))
        else:
            budget -= _look_at(chunk, budget)
    _check_rows(data[_HEADER], rows)
    return Still(joined(data, kept), turned)


def _check_rows(header: bytes, rows: list[memoryview]) -> None:
    try:
        whole = has_all_rows(header, rows)
    except zlib.error as error:
        raise corrupt(NAME, f"its pixels cannot be inflated ({error})") from error
    if not whole:
        raise truncated(NAME, "in its pixels, although its last chunk is there")


def _chunks(data: bytes) -> Iterator[Chunk]:
    view, start = memoryview(data), len(MAGIC)
    while True:
        if start + _AROUND > len(data):
            raise truncated(NAME, f"after {len(data):,} bytes, before its last chunk")
        length, name = _HEAD.unpack_from(data, start)
        _check_name(name, start)
        end = start + _AROUND + length
        if end > len(data):
            raise truncated(NAME, f"in chunk {name.decode()}, after {len(data):,} of {end:,} bytes")
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise corrupt(NAME, f"chunk {name.decode()} at byte {start:,} does not match its checksum")
        yield Chunk(name, view[start + 8 : end - 4], start, end)
        if name == b"IEND":
            return
        start = end


def _check_name(name: bytes, start: int) -> None:
    if not (name.isalpha() and name.isascii()):
        raise corrupt(NAME, f"what should be a chunk's name at byte {start:,} is none")


def _look_at(chunk: Chunk, budget: int) -> int:
    """Refuse what must not be left out; returns how many bytes a compressed text or profile holds."""
    if chunk.name in {b"zTXt", b"iTXt", b"iCCP"}:
        return _inflated(chunk, budget)
    if chunk.name == b"acTL" and int.from_bytes(chunk.body[:4]) > 1:
        raise animated(NAME, f"{int.from_bytes(chunk.body[:4]):,} frames")
    if chunk.name[:1].isupper():
        raise corrupt(NAME, f"chunk {chunk.name.decode()} is critical and unknown")
    return 0


def _inflated(chunk: Chunk, budget: int) -> int:
    """Bytes that it holds; what cannot be inflated is never looked at by anybody."""
    body = bytes(chunk.body)
    packed = body.partition(b"\0")[2][1:]
    if chunk.name == b"iTXt":
        if body.partition(b"\0")[2][:1] != b"\1":
            return 0
        packed = packed[1:].partition(b"\0")[2].partition(b"\0")[2]
    try:
        found = len(zlib.decompressobj().decompress(packed, budget + 1))
    except zlib.error:
        return 0
    if found > budget:
        raise bomb(chunk.name.decode())
    return found


def bomb(name: str) -> BadItem:
    """A chunk of a few kilobytes that fills the memory of whoever reads it."""
    return metadata(NAME, f"has compressed metadata (up to {name}) of more than {_MOST_INFLATED:,} bytes")
