"""Small encoded pictures for tests."""

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def png(colour: Any = "red", size: tuple[int, int] = (40, 40), mode: str = "RGB", form: str = "PNG") -> bytes:
    """One flat colour."""
    return encoded(Image.new(mode, size, colour), form)


def noise(seed: int, size: tuple[int, int] = (160, 160)) -> bytes:
    """No two tiles of it are equal."""
    return encoded(noisy(seed, size))


def noisy(seed: int, size: tuple[int, int]) -> Image.Image:
    """The same, before it is encoded."""
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))


def encoded(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def turned(orientation: int, form: str = "JPEG") -> bytes:
    """A picture of 3x2 blocks, each of its own colour, whose EXIF says that it is turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(blocks(), form, exif=exif, **({"quality": 95, "subsampling": 0} if form == "JPEG" else {}))


def blocks() -> Image.Image:
    """Three by two blocks of 16x16 pixels."""
    small = Image.new("RGB", (3, 2))
    small.putdata([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (0, 0, 0)])
    return small.resize((48, 32), Image.Resampling.NEAREST)


def chunk(name: bytes, body: bytes = b"", checksum: int | None = None) -> bytes:
    """One chunk of a PNG, with its own checksum unless another is given."""
    right = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", right if checksum is None else checksum)


def header(width: int, height: int, depth: int = 8, colours: int = 2) -> bytes:
    """A PNG's first chunk; colours 0 is grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))


def raw_png(head: bytes, rows: bytes, *before: bytes) -> bytes:
    """A PNG of a header, chunks before the pixels, and rows with their filter bytes."""
    return PNG_MAGIC + head + b"".join(before) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")


def header_only_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels: decoding it would fail, so only the header may be read."""
    return PNG_MAGIC + header(width, height) + b"\x00\x00\x00\x08IDAT"
