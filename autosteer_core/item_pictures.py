"""The pictures of one item: how many there may be, how large they are together, and which of them is bad."""

from collections.abc import Sequence

from PIL.Image import Image

from autosteer_core.errors import BadItem
from autosteer_core.pictures import PictureDecoder

MOST_PICTURES = 64
# In memory at once, at three to four bytes each.
MOST_PIXELS = 120_000_000


def decode_all(images: Sequence[bytes], decoder: PictureDecoder) -> list[Image]:
    """The pictures in order.

    Raises:
        BadItem: E_IMAGE_COUNT, E_IMAGE_TOO_LARGE for all of them together, or what is wrong with one, with its place.
    """
    check_count(len(images), MOST_PICTURES)
    pictures: list[Image] = []
    pixels = 0
    for place, data in enumerate(images):
        pictures.append(_decoded(data, place if len(images) > 1 else None, decoder))
        pixels += pictures[-1].width * pictures[-1].height
        if pixels > MOST_PIXELS:
            raise BadItem(
                "E_IMAGE_TOO_LARGE",
                f"the first {place + 1} images of the item have {pixels:,} pixels, at most {MOST_PIXELS:,} allowed "
                "together: shrink them or give fewer",
                "images",
            )
    return pictures


def check_count(found: int, most: int) -> None:
    """Raise BadItem for more pictures than one prompt can show."""
    if found > most:
        raise BadItem(
            "E_IMAGE_COUNT",
            f"the item has {found:,} images, at most {most} allowed in one prompt: split it into several items",
            "images",
        )


def _decoded(data: bytes, place: int | None, decoder: PictureDecoder) -> Image:
    try:
        return decoder.decode(data)
    except BadItem as error:
        column = "image" if place is None else f"images[{place}]"
        raise BadItem(error.flaw.code, error.flaw.message, column) from error
