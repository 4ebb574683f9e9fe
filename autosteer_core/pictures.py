"""Picture bytes to an RGB picture, within limits that are checked before anything is decoded."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from autosteer_core.errors import BadItem, first_line
from autosteer_core.picture_files import jpeg, png, webp
from autosteer_core.picture_files.exif import UPRIGHT
from autosteer_core.picture_files.flaws import corrupt, truncated
from autosteer_core.picture_files.still import Still

FORMATS = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """Largest picture that is decoded; anything above becomes an error row.

    A WebP takes four bytes a pixel four times over while it is decoded, so fewer pixels fit in the same memory. A
    baseline JPEG between `max_pixels` and `max_halved_pixels` is read at half its sides: no model sees as much. What
    is below `max_pixels` is never scaled here.
    """

    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    max_webp_pixels: int = 16_777_216
    max_halved_pixels: int = 120_000_000
    max_aspect: float = 100.0


LIMITS = PictureLimits()


class PictureDecoder(Protocol):
    """Makes a stranger's bytes a picture; where that is done is its own business."""

    def decode(self, data: bytes) -> Image.Image:
        """As `decode_picture`, which it may call in another process; raises BadItem."""
        ...


class DirectDecoder:
    """Decodes in this process: for pictures that are trusted, and for tests."""

    def decode(self, data: bytes) -> Image.Image:
        """As PictureDecoder asks."""
        return decode_picture(data)


@dataclass(frozen=True, slots=True)
class _Form:
    """How one format's files are read: by us as far as the pixels, and then by Pillow."""

    name: str
    is_one: Callable[[bytes], bool]
    size: Callable[[bytes], tuple[int, int]]
    still: Callable[[bytes], Still]
    opened: type[ImageFile]


_FORMS = (
    _Form(png.NAME, lambda data: data.startswith(png.MAGIC), png.size, png.still, PngImageFile),
    _Form(jpeg.NAME, lambda data: data.startswith(jpeg.MAGIC), jpeg.size, jpeg.still, JpegImageFile),
    _Form(webp.NAME, webp.is_one, webp.size, webp.still, WebPImageFile),
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
# Rows that are laid on white at a time: a whole picture four times over would not fit in a decoder's memory.
_STRIP_PIXELS = 4_000_000


def decode_picture(data: bytes, limits: PictureLimits = LIMITS) -> Image.Image:
    """An upright RGB picture; transparency is laid on white, EXIF orientation is applied.

    The format is the one that the bytes begin with. Metadata is left out before any library sees the file.

    Raises:
        BadItem: E_IMAGE_EMPTY, E_IMAGE_BYTES, E_IMAGE_FORMAT, E_IMAGE_DIMENSIONS, E_IMAGE_TOO_LARGE, E_IMAGE_ASPECT,
            E_IMAGE_ANIMATED, E_IMAGE_METADATA, E_IMAGE_TRUNCATED, E_IMAGE_CORRUPT.
    """
    check_length(data, limits)
    form = _form_of(data)
    size = form.size(data)
    _check_size(form, size, limits)
    still = form.still(data)
    _check_memory(form, size, still, limits)
    try:
        return _on_white(_turned(_loaded(form, still, size, limits), still.orientation))
    except BadItem:
        raise
    except MemoryError as error:
        raise _too_large(form, size, "more than the memory for one picture holds") from error
    except Exception as error:  # whatever a library meets in hostile bytes costs this picture alone
        said = first_line(error)
        raise (truncated(form.name, f"({said})") if "truncated" in said else corrupt(form.name, said)) from error


def check_length(data: bytes, limits: PictureLimits = LIMITS) -> None:
    """Raise BadItem for no bytes, or more than are taken."""
    if not data:
        raise BadItem("E_IMAGE_EMPTY", "the image has no bytes: supply a PNG, JPEG or WebP file")
    if len(data) > limits.max_bytes:
        raise BadItem(
            "E_IMAGE_BYTES",
            f"the image has {len(data):,} bytes, at most {limits.max_bytes:,} allowed: compress or shrink it",
        )


def _form_of(data: bytes) -> _Form:
    for form in _FORMS:
        if form.is_one(data):
            return form
    raise BadItem("E_IMAGE_FORMAT", f"the bytes {_looks_like(data)}: supply one of {', '.join(FORMATS)}")


def _check_size(form: _Form, size: tuple[int, int], limits: PictureLimits) -> None:
    shorter, longer = sorted(size)
    if not shorter:
        raise BadItem("E_IMAGE_DIMENSIONS", f"the {form.name} image is {size[0]}x{size[1]}: supply one with pixels")
    if shorter * longer > _most_pixels(form, limits):
        raise _too_large(form, size, f"at most {_most_pixels(form, limits):,} pixels allowed")
    if longer > limits.max_aspect * shorter:
        raise BadItem(
            "E_IMAGE_ASPECT",
            f"the {form.name} image is {size[0]}x{size[1]}, one side at most {limits.max_aspect:g} times the other "
            "allowed: cut it",
        )


def _most_pixels(form: _Form, limits: PictureLimits) -> int:
    most = {webp.NAME: limits.max_webp_pixels, jpeg.NAME: limits.max_halved_pixels}
    return most.get(form.name, limits.max_pixels)


def _check_memory(form: _Form, size: tuple[int, int], still: Still, limits: PictureLimits) -> None:
    """A progressive JPEG is held whole, at two bytes a number, before the first pixel comes out."""
    if still.progressive and size[0] * size[1] > limits.max_pixels:
        raise _too_large(form, size, f"at most {limits.max_pixels:,} pixels allowed if it is progressive")


def _too_large(form: _Form, size: tuple[int, int], most: str) -> BadItem:
    return BadItem("E_IMAGE_TOO_LARGE", f"the {form.name} image is {size[0]}x{size[1]}, {most}: shrink it")


def _loaded(form: _Form, still: Still, size: tuple[int, int], limits: PictureLimits) -> Image.Image:
    picture = form.opened(io.BytesIO(still.data))
    if picture.size != size:
        raise corrupt(form.name, "its header and its pixels disagree about its size")
    if size[0] * size[1] > limits.max_pixels:
        picture.draft(None, (size[0] // 2, size[1] // 2))
    picture.load()
    return picture


def _turned(picture: Image.Image, orientation: int) -> Image.Image:
    return picture if orientation == UPRIGHT else picture.transpose(_TURNS[orientation])


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # Pillow clips 16 bits to 255, which turns most of a picture white; the upper byte is what other modes get.
        picture = picture.point(lambda value: value / 256, "L")
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB")
    return _laid_on_white(picture)


def _laid_on_white(picture: Image.Image) -> Image.Image:
    white, (width, height) = Image.new("RGB", picture.size), picture.size
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = picture.crop((0, top, width, min(top + rows, height)))
        layered = Image.new("RGBA", strip.size, "white")
        layered.alpha_composite(strip.convert("RGBA"))
        white.paste(layered.convert("RGB"), (0, top))
    return white


def _looks_like(data: bytes) -> str:
    start = data[:64].lstrip().lower()
    if start.startswith((b"<?xml", b"<error")):
        return f"look like XML{_code_in(data)}"
    if start.startswith((b"<!doctype", b"<html")):
        return "look like a web page"
    return f"start with {data[:8].hex(' ')}, which is no picture format that is read here"


def _code_in(data: bytes) -> str:
    """What a store says instead of giving the file, such as SlowDown."""
    code = data[:2048].partition(b"<Code>")[2].partition(b"</Code>")[0].decode(errors="replace")
    return f": {code}" if code.isalnum() and len(code) <= 64 else ""
