"""Picture bytes are checked before they are decoded."""

import struct
import zlib

import pytest
from PIL import Image

from autosteer_core.errors import BadItem
from autosteer_core.pictures import decode_picture
from tests.pictures import png


def header_only_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels: decoding it would fail, so only the header may be read."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + body
        + struct.pack(">I", zlib.crc32(body))
        + b"\x00\x00\x00\x08IDAT"
    )


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "E_IMAGE_EMPTY"),
        (b"<!DOCTYPE html><html>", "E_IMAGE_FORMAT"),
        (b"GIF89a" + bytes(40), "E_IMAGE_FORMAT"),
        (png()[:60], "E_IMAGE_TRUNCATED"),
        (header_only_png(100_000, 100_000), "E_IMAGE_TOO_LARGE"),
        (header_only_png(12_000, 12_000), "E_IMAGE_TOO_LARGE"),
        (header_only_png(1, 200_000), "E_IMAGE_ASPECT"),
        (bytes(21 * 2**20), "E_IMAGE_BYTES"),
    ],
)
def test_a_bad_picture_has_an_exact_code(data: bytes, code: str) -> None:
    with pytest.raises(BadItem) as refused:
        decode_picture(data)

    assert refused.value.flaw.code == code


def test_every_cut_of_a_picture_is_refused_or_decoded_never_a_crash() -> None:
    whole = png(size=(64, 64), form="WEBP")

    for end in range(0, len(whole), 7):
        try:
            assert decode_picture(whole[:end]).size == (64, 64)
        except BadItem:
            continue


def test_transparency_is_laid_on_white() -> None:
    assert decode_picture(png((0, 0, 0, 0), mode="RGBA")).getpixel((0, 0)) == (255, 255, 255)  # type: ignore[arg-type]


def test_exif_orientation_is_applied(tmp_path: object) -> None:
    import io

    picture, file = Image.new("RGB", (10, 20)), io.BytesIO()
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(file, "JPEG", exif=exif)

    assert decode_picture(file.getvalue()).size == (20, 10)
