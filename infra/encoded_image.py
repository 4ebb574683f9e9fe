"""Images that stand in a text: base64, alone or in a data: address."""

import binascii
from base64 import b64decode

from autosteer_core.errors import BadItem
from infra.row_to_item import MAX_IMAGE_BYTES


def decoded_image(value: str) -> bytes:
    """The bytes; BadItem if they are too many or not base64."""
    encoded = value.partition(",")[2] if value.startswith("data:") else value
    if len(encoded) > MAX_IMAGE_BYTES * 4 // 3 + 4:
        raise BadItem(
            "E_IMAGE_BYTES", f"an image has more than {MAX_IMAGE_BYTES:,} bytes in base64: compress or shrink it"
        )
    try:
        return b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadItem("E_IMAGE_BASE64", f"an image is neither base64 nor a path with a suffix: {error}") from error
