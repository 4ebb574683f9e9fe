"""Thousands of damaged pictures, decoded as a worker does: none hangs, none kills, none passes for intact."""

import io
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from PIL import Image

from autosteer_core.errors import BadItem
from autosteer_core.pictures import decode_picture
from tests.pictures import chunk, encoded, header, noisy, raw_png
from tests.security.scale import SEED, scaled
from workers.decoder_process import DecoderProcess

pytestmark = pytest.mark.security

MUTATIONS = 10_000
MOST_SECONDS = 5.0


def seeds() -> dict[str, list[bytes]]:
    """Of each format, in the forms that it has."""
    picture, clear = noisy(1, (40, 30)), noisy(2, (33, 21)).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "PNG": [encoded(each, "PNG") for each in (picture, clear, picture.convert("P"), picture.convert("1"))],
        "JPEG": [
            encoded(picture, "JPEG", exif=exif), encoded(picture, "JPEG", progressive=True),
            encoded(picture.convert("L"), "JPEG"), encoded(picture.convert("CMYK"), "JPEG"),
        ],
        "WEBP": [
            encoded(picture, "WEBP"), encoded(clear, "WEBP"), encoded(clear, "WEBP", lossless=True),
            encoded(picture, "WEBP", exif=exif),
        ],
    }  # fmt: skip


def flip(data: bytes, random: Random) -> bytes:
    """One to eight bits."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut(data: bytes, random: Random) -> bytes:
    """The end is missing."""
    return data[: random.randrange(len(data))]


def lose(data: bytes, random: Random) -> bytes:
    """Some bytes in the middle are missing."""
    start = random.randrange(len(data))
    return data[:start] + data[start + random.randrange(1, 40) :]


def stuff(data: bytes, random: Random) -> bytes:
    """Bytes from elsewhere in the file, or of noise, come in between."""
    start, other, count = random.randrange(len(data)), random.randrange(len(data)), random.randrange(1, 40)
    return data[:start] + random.choice((data[other : other + count], random.randbytes(count))) + data[start:]


def extreme(data: bytes, random: Random) -> bytes:
    """A number somewhere becomes as large, or as small, as it can be."""
    start, count = random.randrange(len(data)), random.choice((1, 2, 4))
    return data[:start] + random.choice((b"\xff", b"\0", b"\x7f")) * count + data[start + count :]


def rewrite_chunk(data: bytes, random: Random) -> bytes:
    """A PNG's chunk is changed, dropped, doubled or moved, and its checksum made right."""
    if not data.startswith(b"\x89PNG"):
        return extreme(flip(data, random), random)
    parts, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        parts.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    place = random.randrange(len(parts))
    name, body = parts[place]
    match random.randrange(4):
        case 0 if body:
            parts[place] = (name, flip(body, random))
        case 1:
            del parts[place]
        case 2:
            parts.insert(random.randrange(len(parts)), parts[place])
        case _:
            random.shuffle(parts)
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )


DAMAGE: tuple[Callable[[bytes, Random], bytes], ...] = (flip, flip, cut, lose, stuff, extreme, rewrite_chunk)


def test_no_damaged_picture_hangs_kills_or_passes_for_intact(report: Callable[[str, object], None]) -> None:
    random, decoder, begun, slowest = Random(SEED), DecoderProcess(), time.monotonic(), 0.0
    codes, unseen, files = Counter[str](), Counter[str](), seeds()
    pids = set()
    for number in range(scaled(MUTATIONS)):
        form = ("PNG", "JPEG", "WEBP")[number % 3]
        whole = random.choice(files[form])
        damage = random.choice(DAMAGE)
        data = damage(whole, random)
        if data == whole:
            continue
        start = time.monotonic()
        try:
            picture = decoder.decode(data)
        except BadItem as error:
            codes[error.flaw.code] += 1
        else:
            assert picture.mode == "RGB" and picture.width * picture.height <= 40_000_000
            unseen[form] += 1
            assert form != "PNG" or checksums_are_right(data)
            if damage is cut or (form == "PNG" and damage is not rewrite_chunk):
                assert picture.tobytes() == decode_picture(whole).tobytes(), (form, damage.__name__, number)
        slowest = max(slowest, time.monotonic() - start)
        pids.add(decoder.pid)
    seconds = time.monotonic() - begun
    report("damaged pictures", f"{codes.total() + unseen.total()} in {seconds:.0f} s, slowest {slowest:.2f} s")
    report("damaged pictures refused", f"{codes.total()}: {dict(codes.most_common())}")
    report("damaged pictures that the format cannot tell", dict(unseen))
    report("decoders that it took", len(pids))
    decoder.close()
    assert slowest < MOST_SECONDS
    assert codes["E_DECODER_DIED"] == 0
    assert codes.keys() <= KNOWN


KNOWN = {
    "E_IMAGE_EMPTY", "E_IMAGE_FORMAT", "E_IMAGE_TRUNCATED", "E_IMAGE_CORRUPT", "E_IMAGE_TOO_LARGE", "E_IMAGE_ASPECT",
    "E_IMAGE_DIMENSIONS", "E_IMAGE_ANIMATED", "E_IMAGE_METADATA",
}  # fmt: skip


def checksums_are_right(data: bytes) -> bool:
    """What is decoded of a PNG must be what its writer wrote: the test's own look at its chunks."""
    at = 8
    while data[at + 4 : at + 8] != b"IEND":
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
            return False
        at = end + 4
    return True


def test_pillow_alone_takes_pictures_that_are_refused_here() -> None:
    """The negative control: what the checks before it are for."""
    whole = noisy(1, (40, 30))
    damaged = [
        encoded(whole, "PNG")[:-12],
        raw_png(header(4, 4), b"\0" + bytes(12)),
        raw_png(header(1, 1), b"\0abc", chunk(b"acTL", struct.pack(">II", 2, 0))),
    ]
    for data in damaged:
        assert Image.open(io.BytesIO(data)).convert("RGB").size
        with pytest.raises(BadItem):
            decode_picture(data)
