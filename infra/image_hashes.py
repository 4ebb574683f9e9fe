"""Whether the images of a row are those that its author saw: some damage decodes, and shows another picture."""

import re
from collections.abc import Sequence
from hashlib import sha256

from autosteer_core.errors import BadItem

COLUMN = "image_sha256"
_HASH = re.compile("[0-9a-fA-F]{64}")


def require_hashes(images: Sequence[bytes], stated: str | None) -> None:
    """`stated` is the SHA-256 of every encoded image, in order, as hex with white space between; None states nothing.

    Raises:
        BadItem: E_IMAGE_SHA256.
    """
    if stated is None:
        return
    hashes = stated.split()
    if len(hashes) != len(images) or not all(map(_HASH.fullmatch, hashes)):
        raise BadItem(
            "E_IMAGE_SHA256",
            f"{len(hashes)} words for {len(images)} images, expected 64 hex digits an image, with spaces between: "
            "write the SHA-256 of every image, or leave the cell empty",
            COLUMN,
        )
    for place, (image, wanted) in enumerate(zip(images, hashes, strict=True)):
        found = sha256(image).hexdigest()
        if found != wanted.lower():
            raise BadItem(
                "E_IMAGE_SHA256",
                f"image {place + 1} has the SHA-256 {found[:12]}..., the row states {wanted[:12].lower()}...: fetch "
                "the image again, or mend the cell",
                COLUMN,
            )
