"""A picture file without all that is not needed for its pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

MOST_PIECES = 100_000


@dataclass(frozen=True, slots=True)
class Still:
    """`data` is the file with nothing in it but pixels and what decoding them takes.

    Metadata is left out, so no library ever parses it; of EXIF we read one number, the orientation, 1 to 8.
    """

    data: bytes
    orientation: int = 1
    progressive: bool = False


Stretch = tuple[int, int]


def joined(data: bytes, kept: Sequence[Stretch]) -> bytes:
    """The kept stretches of a file, (start, end) each; the file itself where that is all of it."""
    if all(end == start for (_, end), (start, _) in pairwise(kept)):
        start, end = kept[0][0], kept[-1][1]
        return data if (start, end) == (0, len(data)) else data[start:end]
    return b"".join(memoryview(data)[start:end] for start, end in kept)
