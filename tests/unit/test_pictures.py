"""Picture bytes are checked before they are decoded, and what is decoded is always the same."""

import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autosteer_core.errors import BadItem
from autosteer_core.item_pictures import MOST_PICTURES, MOST_PIXELS, decode_all
from autosteer_core.picture_files.exif import orientation
from autosteer_core.pictures import DirectDecoder, PictureLimits, decode_picture
from tests.pictures import blocks, chunk, encoded, header, header_only_png, noisy, png, raw_png, turned


def code_of(data: bytes) -> str:
    """What is said of a bad picture."""
    with pytest.raises(BadItem) as refused:
        decode_picture(data)
    return refused.value.flaw.code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "E_IMAGE_EMPTY"),
        (b"<!DOCTYPE html><html>", "E_IMAGE_FORMAT"),
        (b"GIF89a" + bytes(40), "E_IMAGE_FORMAT"),
        (b"RIFF\4\0\0\0WEBP", "E_IMAGE_CORRUPT"),
        (b"RIFF\4\0\0\0WAVE", "E_IMAGE_FORMAT"),
        (png()[:60], "E_IMAGE_TRUNCATED"),
        (header_only_png(100_000, 100_000), "E_IMAGE_TOO_LARGE"),
        (header_only_png(12_000, 12_000), "E_IMAGE_TOO_LARGE"),
        (header_only_png(1, 200_000), "E_IMAGE_ASPECT"),
        (header_only_png(0, 5), "E_IMAGE_DIMENSIONS"),
        (bytes(21 * 2**20), "E_IMAGE_BYTES"),
        (raw_png(header(1, 1), b"\0abc", chunk(b"acTL", struct.pack(">II", 2, 0))), "E_IMAGE_ANIMATED"),
        (raw_png(header(1, 1), b"\0abc", chunk(b"QuuX")), "E_IMAGE_CORRUPT"),
    ],
)
def test_a_bad_picture_has_an_exact_code(data: bytes, code: str) -> None:
    assert code_of(data) == code


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_every_cut_of_a_picture_is_refused(form: str) -> None:
    whole = encoded(noisy(1, (24, 24)), form)

    assert {code_of(whole[:end]) for end in range(16, len(whole), 7)} == {"E_IMAGE_TRUNCATED"}


def test_a_store_that_answers_in_words_is_named() -> None:
    with pytest.raises(BadItem, match="look like XML: SlowDown: supply"):
        decode_picture(b'<?xml version="1.0"?><Error><Code>SlowDown</Code></Error>')


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_of_a_png_goes_unseen(place: int, change: int) -> None:
    whole = bytearray(encoded(noisy(2, (12, 12))))
    whole[place % len(whole)] ^= change

    assert code_of(bytes(whole)).startswith("E_IMAGE_")


def test_transparency_is_laid_on_white() -> None:
    assert decode_picture(png((0, 0, 0, 0), mode="RGBA")).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("told", [*range(1, 9), 99])
def test_a_picture_is_set_upright(form: str, told: int) -> None:
    upright = [
        lambda each: each, lambda each: each.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda each: each.rotate(180), lambda each: each.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        lambda each: each.rotate(-90, expand=True).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda each: each.rotate(-90, expand=True),
        lambda each: each.rotate(90, expand=True).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda each: each.rotate(90, expand=True),
    ]  # fmt: skip
    wanted = upright[told - 1 if told < 9 else 0](blocks())

    found = decode_picture(turned(told, form))

    assert found.size == wanted.size
    places = [(x, y) for x in range(8, found.width, 16) for y in range(8, found.height, 16)]
    for place in places:
        near = zip(found.getpixel(place), wanted.getpixel(place), strict=True)  # type: ignore[arg-type]
        assert all(abs(one - other) < 32 for one, other in near), place


@given(st.binary(max_size=80))
def test_whatever_stands_for_exif_an_orientation_is_one_to_eight(block: bytes) -> None:
    assert 1 <= orientation(b"Exif\0\0MM\0*" + block) <= 8
    assert 1 <= orientation(block) <= 8


PALETTE, SHORT = chunk(b"PLTE", bytes([10, 20, 30, 200, 100, 50])), struct.pack

GOLDEN: list[tuple[str, bytes, tuple[int, int, int]]] = [
    ("16 bit grey", raw_png(header(1, 1, 16, 0), b"\0" + SHORT(">H", 40_000)), (156, 156, 156)),
    ("16 bit RGB", raw_png(header(1, 1, 16, 2), b"\0" + SHORT(">HHH", 40_000, 500, 255)), (156, 1, 0)),
    ("16 bit RGBA", raw_png(header(1, 1, 16, 6), b"\0" + SHORT(">HHHH", 40_000, 0, 0, 32_768)), (205, 127, 127)),
    ("grey and alpha", raw_png(header(1, 1, 8, 4), b"\0\x00\x80"), (127, 127, 127)),
    ("1 bit white", raw_png(header(1, 1, 1, 0), b"\0\x80"), (255, 255, 255)),
    ("1 bit black", raw_png(header(1, 1, 1, 0), b"\0\x00"), (0, 0, 0)),
    ("2 bit grey", raw_png(header(1, 1, 2, 0), b"\0\x80"), (170, 170, 170)),
    ("palette", raw_png(header(1, 1, 8, 3), b"\0\x01", PALETTE), (200, 100, 50)),
    (
        "palette and alpha",
        raw_png(header(1, 1, 8, 3), b"\0\x01", PALETTE, chunk(b"tRNS", b"\xff\x80")),
        (227, 177, 152),
    ),
    ("a key colour", raw_png(header(1, 1, 8, 2), b"\0\x01\x02\x03", chunk(b"tRNS", b"\0\1\0\2\0\3")), (255,) * 3),
    ("CMYK", png((0, 255, 255, 0), mode="CMYK", form="JPEG"), (255, 0, 0)),
    ("grey JPEG", png(77, mode="L", form="JPEG"), (77, 77, 77)),
    ("WebP and alpha", encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 128)), "WEBP", lossless=True), (127, 127, 127)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "wanted"), GOLDEN, ids=[name for name, _, _ in GOLDEN])
def test_every_colour_mode_becomes_the_same_rgb_everywhere(name: str, data: bytes, wanted: Any) -> None:
    picture = decode_picture(data)

    assert (picture.mode, picture.getpixel((0, 0))) == ("RGB", wanted)


def test_metadata_changes_nothing_and_is_never_parsed() -> None:
    plain, exif = noisy(3, (20, 20)), b"Exif\0\0MM\0*" + b"\xff" * 40
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'

    for form, extra in (
        ("JPEG", {"exif": exif, "xmp": bomb, "icc_profile": b"no profile", "comment": b"hm"}),
        ("PNG", {"exif": exif, "icc_profile": b"no profile"}),
        ("WEBP", {"exif": exif, "xmp": bomb, "icc_profile": b"no profile", "lossless": True}),
    ):
        found = decode_picture(encoded(plain, form, **extra))
        without = {"lossless": True} if form == "WEBP" else {}
        assert found.tobytes() == decode_picture(encoded(plain, form, **without)).tobytes()
        assert not found.info.keys() & {"exif", "xmp", "icc_profile", "comment"}


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_what_is_below_the_limits_is_as_pillow_alone_decodes_it(form: str, mode: str) -> None:
    data = encoded(noisy(4, (31, 17)).convert("RGB" if form == "JPEG" and mode in {"RGBA", "P"} else mode), form)

    plain = Image.open(io.BytesIO(data)).convert("RGB")

    assert decode_picture(data).tobytes() == plain.tobytes()


def test_only_a_baseline_jpeg_beyond_the_limit_is_read_at_half_its_sides() -> None:
    limits = PictureLimits(max_pixels=1000, max_halved_pixels=3000)
    small, large = noisy(5, (30, 30)), noisy(5, (60, 50))

    assert decode_picture(encoded(small, "JPEG"), limits).size == (30, 30)
    assert decode_picture(encoded(large, "JPEG"), limits).size == (30, 25)
    for data in (encoded(large), encoded(large, "JPEG", progressive=True), encoded(noisy(5, (60, 51)), "JPEG")):
        with pytest.raises(BadItem, match="E_IMAGE_TOO_LARGE"):
            decode_picture(data, limits)


def test_compressed_metadata_is_measured_before_anybody_reads_it() -> None:
    packed = zlib.compress(bytes(9 * 2**20))
    for bomb in (
        chunk(b"zTXt", b"a\0\0" + packed), chunk(b"iCCP", b"a\0\0" + packed),
        chunk(b"iTXt", b"a\0\1\0\0\0" + packed),
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(5 * 2**20))) * 2,
    ):  # fmt: skip
        assert code_of(raw_png(header(1, 1), b"\0abc", bomb)) == "E_IMAGE_METADATA"
    fine = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20)))
    assert decode_picture(raw_png(header(1, 1), b"\0abc", fine)).getpixel((0, 0)) == (97, 98, 99)


def test_an_item_has_so_many_pictures_and_pixels_and_says_which_is_bad() -> None:
    good, vast = png(size=(4, 4)), png(size=(6000, 5000), mode="1", colour=1)

    assert len(decode_all([good] * MOST_PICTURES, DirectDecoder())) == MOST_PICTURES
    for images, code, column in (
        ([good] * (MOST_PICTURES + 1), "E_IMAGE_COUNT", "images"),
        ([vast] * (MOST_PIXELS // 30_000_000 + 1), "E_IMAGE_TOO_LARGE", "images"),
        ([good, b"hm"], "E_IMAGE_FORMAT", "images[1]"),
        ([b"hm"], "E_IMAGE_FORMAT", "image"),
    ):
        with pytest.raises(BadItem) as refused:
            decode_all(images, DirectDecoder())
        assert (refused.value.flaw.code, refused.value.flaw.column) == (code, column)
