"""Small encoded pictures for tests."""

import io

from PIL import Image


def png(colour: str = "red", size: tuple[int, int] = (40, 40), mode: str = "RGB", form: str = "PNG") -> bytes:
    """One flat colour."""
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, form)
    return file.getvalue()
