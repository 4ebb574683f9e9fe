"""Picture bytes to an RGB picture, within limits that are checked before anything is decoded."""

import io
import warnings
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from autosteer_core.errors import BadItem

FORMATS = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """Largest picture that is decoded; anything above becomes an error row."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    max_aspect: float = 100.0


def decode_picture(data: bytes, limits: PictureLimits | None = None) -> Image.Image:
    """An upright RGB picture; transparency is laid on white, EXIF orientation is applied.

    Raises:
        BadItem: E_IMAGE_EMPTY, E_IMAGE_BYTES, E_IMAGE_FORMAT, E_IMAGE_TOO_LARGE, E_IMAGE_ASPECT,
            E_IMAGE_CORRUPT.
    """
    limits = limits or PictureLimits()
    if not data:
        raise BadItem("E_IMAGE_EMPTY", "the image has no bytes: supply a PNG, JPEG or WebP file")
    if len(data) > limits.max_bytes:
        raise BadItem("E_IMAGE_BYTES", f"the image has {len(data):,} bytes, at most {limits.max_bytes:,} allowed")
    with warnings.catch_warnings():
        # Pillow only warns about pictures up to twice its own pixel limit; ours is checked from the header.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return _decode(_open(data), limits)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadItem("E_IMAGE_TOO_LARGE", f"the image header is refused: {error}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise BadItem("E_IMAGE_FORMAT", f"the bytes {_looks_like(data)}, expected {', '.join(FORMATS)}") from error


def _decode(picture: Image.Image, limits: PictureLimits) -> Image.Image:
    width, height = picture.size
    if width * height > limits.max_pixels:
        raise BadItem(
            "E_IMAGE_TOO_LARGE",
            f"the image has {width}x{height} pixels, at most {limits.max_pixels:,} allowed",
        )
    if max(width, height) > limits.max_aspect * min(width, height):
        raise BadItem("E_IMAGE_ASPECT", f"the image is {width}x{height}, sides differ more than 100 times")
    try:
        picture.load()
        return _on_white(ImageOps.exif_transpose(picture))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadItem("E_IMAGE_CORRUPT", f"the image cannot be decoded ({error}): supply an intact file") from error


def _on_white(picture: Image.Image) -> Image.Image:
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB")
    layered = Image.new("RGBA", picture.size, "white")
    layered.alpha_composite(picture.convert("RGBA"))
    return layered.convert("RGB")


def _looks_like(data: bytes) -> str:
    start = data[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<error")):
        return "look like a web page or an XML error, not a picture"
    return f"start with {data[:8].hex(' ')}, which is no picture format that is read here"
