"""JPEG files: the markers are walked from the first to the last, and application data is left out."""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from autosteer_core.picture_files.exif import UPRIGHT, orientation
from autosteer_core.picture_files.flaws import corrupt, metadata, truncated
from autosteer_core.picture_files.still import MOST_PIECES, Still, joined

NAME = "JPEG"
MAGIC = b"\xff\xd8\xff"

_END, _SCAN, _COMMENT, _EXIF = 0xD9, 0xDA, 0xFE, 0xE1
_BARE = range(0xD0, 0xD9)  # restarts and the start marker, which nothing follows
_APPLICATION = range(0xE0, 0xF0)
_KEPT_APPLICATION = {0xE0, 0xEE}  # JFIF and Adobe say which colours the numbers mean
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
# Every scan goes over the whole picture again; encoders write about ten.
_MOST_SCANS = 100
# Behind a scan's header there are bytes, restarts and padding until a marker that is none of these.
_AFTER_SCAN = re.compile(rb"\xff(?![\x00\xff\xd0-\xd7])")


class Segment(NamedTuple):
    """`start` to `end` with the marker, and with the coded pixels after a scan's header."""

    marker: int
    body: memoryview
    start: int
    end: int


def size(data: bytes) -> tuple[int, int]:
    """Width and height by the frame's header; raises BadItem if there is none."""
    for segment in _segments(data):
        if segment.marker in _FRAMES:
            if len(segment.body) < 6:
                raise corrupt(NAME, "its frame header is too short")
            height, width = struct.unpack_from(">HH", segment.body, 1)
            return width, height
        if segment.marker == _SCAN:
            break
    raise corrupt(NAME, "it has no frame header")


def still(data: bytes) -> Still:
    """The file without application data and what follows it; raises BadItem if it is damaged or cut off."""
    kept, frames, scans, turned = [(0, 2)], [], 0, UPRIGHT
    for number, segment in enumerate(_segments(data)):
        if number > MOST_PIECES:
            raise metadata(NAME, f"has more than {MOST_PIECES:,} segments")
        if segment.marker == _EXIF and bytes(segment.body[:4]) == b"Exif" and turned == UPRIGHT:
            turned = orientation(bytes(segment.body))
        if not _is_metadata(segment.marker):
            kept.append((segment.start, segment.end))
        scans += segment.marker == _SCAN
        frames += [segment.marker] if segment.marker in _FRAMES else []
    if len(frames) != 1 or not 1 <= scans <= _MOST_SCANS:
        raise corrupt(NAME, f"it has {len(frames)} frames and {scans} scans, one and at most {_MOST_SCANS} expected")
    return Still(joined(data, kept), turned, frames[0] in _PROGRESSIVE)


def _is_metadata(marker: int) -> bool:
    return marker == _COMMENT or (marker in _APPLICATION and marker not in _KEPT_APPLICATION)


def _segments(data: bytes) -> Iterator[Segment]:
    view, at = memoryview(data), 2
    while True:
        start, at, marker = _marker(data, at)
        if marker == _END:
            yield Segment(marker, view[at:at], start, at)
            return
        (length,) = struct.unpack(">H", _exactly(view, at, 2))
        if marker in _BARE or length < 2:
            raise corrupt(NAME, f"what should be a segment at byte {start:,} is none")
        body = _exactly(view, at + 2, length - 2)
        at += length
        if marker == _SCAN:
            at = _end_of_scan(data, at)
        yield Segment(marker, body, start, at)


def _marker(data: bytes, start: int) -> tuple[int, int, int]:
    """Where it starts, where it ends, and which it is; any number of 0xFF may stand before it."""
    at = start
    while at < len(data) and data[at] == 0xFF:
        at += 1
    if at >= len(data):
        raise truncated(NAME, f"after {len(data):,} bytes, before its end marker")
    if at == start or data[at] < 0xC0:
        raise corrupt(NAME, f"there is no marker at byte {start:,}")
    return start, at + 1, data[at]


def _exactly(view: memoryview, start: int, length: int) -> memoryview:
    if start + length > len(view):
        raise truncated(NAME, f"in a segment, after {len(view):,} bytes")
    return view[start : start + length]


def _end_of_scan(data: bytes, start: int) -> int:
    found = _AFTER_SCAN.search(data, start)
    if found is None:
        raise truncated(NAME, f"in its pixels, after {len(data):,} bytes")
    return found.start()
