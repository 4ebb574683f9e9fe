"""Bad pictures, kinds 27 to 51; all but those about files are decoded as a worker does, in a process of their own."""

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from autosteer_core.item_pictures import check_count, decode_all
from autosteer_core.pictures import LIMITS
from infra.manifest_files import LocalFiles
from tests.pictures import chunk, encoded, header, header_only_png, noisy, png, raw_png, turned
from tests.security.case import Case, Level, Outcome, refused
from tests.security.manifest_cases import read as read_manifest
from workers.decoder_process import DecoderProcess


@cache
def decoder() -> DecoderProcess:
    """One for all cases, as a worker has."""
    return DecoderProcess()


def decode(images: Sequence[bytes]) -> Outcome:
    """What is said of an item's pictures."""
    return refused(lambda: decode_all(images, decoder()), Level.ROW)


def show_two_where_one_fits(images: Sequence[bytes]) -> Outcome:
    """As of a chat template that writes one picture."""
    return refused(lambda: check_count(len(images), 1), Level.ROW)


def read_from(folder: Path) -> Outcome:
    """An image that a row names and that is not there."""
    return refused(lambda: LocalFiles(folder, ["items.jsonl"]).image("gone.png"), Level.ROW)


def _hashed_row(folder: Path, random: Random) -> Path:
    """A picture that changed after its hash was taken, and decodes."""
    whole = _flat(random, "JPEG")
    row = {
        "id": "a", "image": base64.b64encode(_flipped(whole, 900)).decode(),
        "image_sha256": hashlib.sha256(whole).hexdigest(),
    }  # fmt: skip
    (file := folder / "items.jsonl").write_text(json.dumps(row))
    return file


def _case(number: int, name: str, data: Callable[[Random], bytes], code: str = "") -> Case:
    """A file of these bytes; without a code it must be decoded."""

    def make(folder: Path, random: Random) -> list[bytes]:
        (folder / "picture").write_bytes(found := data(random))
        return [found]

    return Case(number, name, make, decode, Level.ROW if code else Level.FINE, code, "image" if code else "")


def _unwritten(number: int, name: str, images: Callable[[], list[bytes]], code: str, **changed: Any) -> Case:
    """Too large, or too many, for the disk."""
    options = {"feed": decode, "place": "image"} | changed
    return Case(number, name, lambda folder, random: images(), level=Level.ROW, code=code, **options)


def _flat(random: Random, form: str = "PNG", **options: Any) -> bytes:
    return encoded(noisy(random.randrange(10**6), (48, 40)), form, **options)


def _cut(form: str) -> Callable[[Random], bytes]:
    def data(random: Random) -> bytes:
        whole = _flat(random, form)
        return whole[: random.randrange(len(whole) // 3, len(whole) - 2)]

    return data


def _gif(random: Random) -> bytes:
    whole = encoded(noisy(1, (20, 20)), "GIF")
    return whole[: len(whole) // 2]


def _fixed(data: bytes) -> Callable[[Random], bytes]:
    return lambda random: data


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def _huge(width: int, height: int) -> bytes:
    """A whole PNG of one bit a pixel: tens of megapixels from some kilobytes."""
    row = b"\0" + b"\xff" * (width // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = header(width, height, depth=1, colours=0)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", packed) + chunk(b"IEND")


def _huge_jpeg(width: int, height: int) -> bytes:
    """A small JPEG whose frame header claims more."""
    small = bytearray(encoded(noisy(2, (16, 16)), "JPEG"))
    place = small.index(b"\xff\xc0")
    small[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(small)


def _huge_webp() -> bytes:
    """An extended header alone may claim a canvas of 2^24 a side."""
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\xff" * 2
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _animation(form: str, frames: int) -> bytes:
    first, *others = (Image.new("RGB", (8, 8), (number % 256, number // 256, 7)) for number in range(frames))
    return encoded(first, form, save_all=True, append_images=others)


def _form(form: str) -> bytes:
    return encoded(noisy(3, (16, 16)), form)


def _exif(block: bytes) -> Callable[[Random], bytes]:
    return lambda random: _flat(random, "JPEG", exif=b"Exif\0\0" + block)


_XML = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Reduce</Message></Error>'
_PIXEL, _BOMB = b"\0abc", zlib.compress(bytes(70 * 2**20), 9)
_ENTITIES = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "' + b"&a;" * 100 + b'">]><x>' + b"&b;" * 100 + b"</x>"
_DICTIONARY = b"II*\0\x08\0\0\0"
_TIFF = _DICTIONARY + b"\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff" * 9

_STARTS = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "pdf": b"%PDF-1.7\n1 0 obj\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>', "psd": b"8BPS\0\1" + bytes(40),
    "fits": b"SIMPLE  =                    T" + b" " * 50, "gd": b"\xff\xff\0\x10\0\x10" + bytes(60),
    "fpx": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(60), "ico": b"\0\0\1\0\1\0\x10\x10" + bytes(60),
    "avif": b"\0\0\0\x20ftypavif" + bytes(60), "jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
    "wav": b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
}  # fmt: skip

CASES: list[Case] = [
    _case(27, "empty", _fixed(b""), "E_IMAGE_EMPTY"),
    _case(28, "web-page", _fixed(b"<!DOCTYPE html><html><body>404</body></html>"), "E_IMAGE_FORMAT"),
    _unwritten(28, "slow-down", lambda: [_XML], "E_IMAGE_FORMAT", place="look like XML: SlowDown"),
    _case(29, "cut-png", _cut("PNG"), "E_IMAGE_TRUNCATED"),
    _case(29, "png-without-its-end", lambda random: _flat(random)[:-12], "E_IMAGE_TRUNCATED"),
    _case(29, "png-of-too-few-rows", _fixed(raw_png(header(4, 4), b"\0" + bytes(12))), "E_IMAGE_TRUNCATED"),
    _case(30, "cut-jpeg", _cut("JPEG"), "E_IMAGE_TRUNCATED"),
    _case(30, "jpeg-without-its-end", lambda random: _flat(random, "JPEG")[:-2], "E_IMAGE_TRUNCATED"),
    _case(31, "cut-webp", _cut("WEBP"), "E_IMAGE_TRUNCATED"),
    _case(32, "cut-gif", _gif, "E_IMAGE_FORMAT"),
    _case(33, "png-checksum", lambda random: _flipped(_flat(random), 50), "E_IMAGE_CORRUPT"),
    _case(33, "png-header-checksum", lambda random: _flipped(_flat(random), 19), "E_IMAGE_CORRUPT"),
    _case(
        33, "png-zlib",
        _fixed(b"\x89PNG\r\n\x1a\n" + header(4, 4) + chunk(b"IDAT", b"no zlib at all") + chunk(b"IEND")),
        "E_IMAGE_CORRUPT",
    ),
    _case(33, "jpeg-without-tables", _fixed(b"\xff\xd8\xff\xda\0\2ab\xff\xd9"), "E_IMAGE_CORRUPT"),
    _case(34, "flipped-bit-in-a-jpeg", lambda random: _flipped(_flat(random, "JPEG"), 900)),
    Case(34, "flipped-bit-and-a-hash", _hashed_row, read_manifest, Level.ROW, "E_IMAGE_SHA256", "image_sha256"),
    _case(35, "no-pixels", _fixed(raw_png(header(0, 0), b"")), "E_IMAGE_DIMENSIONS"),
    _case(35, "no-width", _fixed(raw_png(header(0, 9), b"")), "E_IMAGE_DIMENSIONS"),
    _case(35, "jpeg-without-height", _fixed(_huge_jpeg(16, 0)), "E_IMAGE_DIMENSIONS"),
    _case(36, "header-of-100000", _fixed(header_only_png(100_000, 100_000)), "E_IMAGE_TOO_LARGE"),
    _case(36, "jpeg-header-of-65500", _fixed(_huge_jpeg(65_500, 65_500)), "E_IMAGE_TOO_LARGE"),
    _case(36, "webp-header-of-2-to-the-24", _fixed(_huge_webp()), "E_IMAGE_TOO_LARGE"),
    _case(37, "144-megapixels", lambda random: _huge(12_000, 12_000), "E_IMAGE_TOO_LARGE"),
    _case(37, "144-megapixels-jpeg", _fixed(_huge_jpeg(12_000, 12_000)), "E_IMAGE_TOO_LARGE"),
    _case(38, "81-megapixels", lambda random: _huge(9_000, 9_000), "E_IMAGE_TOO_LARGE"),
    _case(39, "strip-upright", _fixed(png(1, (1, 20_000), "1")), "E_IMAGE_ASPECT"),
    _case(39, "strip-lying", _fixed(png(1, (20_000, 1), "1")), "E_IMAGE_ASPECT"),
    _case(39, "strip-of-200000", _fixed(header_only_png(1, 200_000)), "E_IMAGE_ASPECT"),
    _case(40, "apng", _fixed(_animation("PNG", 50)), "E_IMAGE_ANIMATED"),
    _case(40, "webp", _fixed(_animation("WEBP", 50)), "E_IMAGE_ANIMATED"),
    _case(
        40, "apng-that-claims-5000",
        _fixed(raw_png(header(1, 1), _PIXEL, chunk(b"acTL", struct.pack(">II", 5000, 0)))), "E_IMAGE_ANIMATED",
    ),
    _case(
        41, "text-bomb", _fixed(raw_png(header(1, 1), _PIXEL, chunk(b"zTXt", b"a\0\0" + _BOMB))),
        "E_IMAGE_METADATA",
    ),
    _case(
        41, "profile-bomb", _fixed(raw_png(header(1, 1), _PIXEL, chunk(b"iCCP", b"a\0\0" + _BOMB))),
        "E_IMAGE_METADATA",
    ),
    _case(
        41, "international-text-bomb",
        _fixed(raw_png(header(1, 1), _PIXEL, chunk(b"iTXt", b"a\0\1\0\0\0" + _BOMB))), "E_IMAGE_METADATA",
    ),
    *(_case(42, name, _fixed(start), "E_IMAGE_FORMAT") for name, start in _STARTS.items()),
    *(_case(42, form, _fixed(_form(form)), "E_IMAGE_FORMAT") for form in ("TIFF", "BMP", "GIF", "PPM", "TGA")),
    _case(43, "any-name-but-a-png", lambda random: _flat(random)),
    _case(44, "cmyk", _fixed(png((9, 99, 199, 0), mode="CMYK", form="JPEG"))),
    _case(44, "16-bit", _fixed(raw_png(header(1, 1, 16, 0), b"\0\x9c\x40"))),
    _case(44, "grey-and-alpha", _fixed(png((7, 9), mode="LA"))),
    _case(44, "one-bit", _fixed(png(1, mode="1"))),
    *(_case(45, f"orientation-{told}", _fixed(turned(told))) for told in (*range(1, 9), 99)),
    _case(46, "exif-noise", _exif(b"\xff" * 60)),
    _case(46, "exif-endless", _exif(_TIFF)),
    _case(46, "profile-noise", lambda random: _flat(random, "JPEG", icc_profile=random.randbytes(500))),
    _case(46, "entity-bomb", lambda random: _flat(random, "JPEG", xmp=_ENTITIES)),
    _case(46, "entity-bomb-webp", lambda random: _flat(random, "WEBP", xmp=_ENTITIES)),
    _case(47, "jpeg-and-zip", lambda random: _flat(random, "JPEG") + b"PK\3\4" + bytes(30) + b"PK\5\6" + bytes(18)),
    _case(47, "jpeg-and-html", lambda random: _flat(random, "JPEG") + b"<html><script>1</script></html>"),
    _case(47, "png-and-zip", lambda random: _flat(random) + b"PK\3\4" + bytes(30)),
    _unwritten(48, "21-megabytes", lambda: [bytes(LIMITS.max_bytes + 1)], "E_IMAGE_BYTES"),
    *(
        _case(49, f"webp-{name}", _fixed(data), "E_IMAGE_CORRUPT")
        for name, data in {
            "lossless-of-noise": b"RIFF" + struct.pack("<I", 4 + 8 + 64) + b"WEBPVP8L" + struct.pack("<I", 64)
            + b"\x2f\x1f\xc0\x07\0" + Random(49).randbytes(59),
            "lossy-of-noise": b"RIFF" + struct.pack("<I", 4 + 8 + 64) + b"WEBPVP8 " + struct.pack("<I", 64)
            + b"\x30\1\0\x9d\x01\x2a\x20\0\x20\0" + Random(49).randbytes(54),
            "nothing": b"RIFF\4\0\0\0WEBP",
        }.items()
    ),
    Case(50, "gone", lambda folder, random: folder, read_from, Level.ROW, "E_IMAGE_NOT_FOUND", "gone.png"),
    _unwritten(
        51, "two-where-the-template-shows-one", lambda: [png()] * 2, "E_IMAGE_COUNT", feed=show_two_where_one_fits,
        place="images",
    ),
    _unwritten(51, "ten-thousand", lambda: [png()] * 10_000, "E_IMAGE_COUNT", place="images"),
]  # fmt: skip
