"""Small encoded pictures for tests."""

import io
import random

from PIL import Image


def png(colour: str = "red", size: tuple[int, int] = (40, 40), mode: str = "RGB", form: str = "PNG") -> bytes:
    """One flat colour."""
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, form)
    return file.getvalue()


def noise(seed: int, size: tuple[int, int] = (160, 160)) -> bytes:
    """No two tiles of it are equal."""
    file = io.BytesIO()
    Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1])).save(file, "PNG")
    return file.getvalue()
