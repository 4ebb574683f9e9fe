"""Pictures that show the same: equal bytes, or thumbnails that correlate."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autosteer_core.errors import BadItem
from autosteer_core.pictures import PictureDecoder

SIDE = 32
SIMILAR = 0.985
_FLAT = 1.0
_ROWS_PER_PRODUCT = 512


@dataclass(frozen=True, slots=True)
class PictureTrace:
    """What is kept of a picture: the SHA-256 of its bytes and a thumbnail (SIDE * SIDE,) of mean 0 and norm 1.

    Chosen over a 64-bit difference hash, which takes all pages of black text on white for one picture. A picture
    of one colour, or one that cannot be decoded, has a thumbnail of zeros, which is similar to none.
    """

    sha256: str
    thumbnail: NDArray[np.float32]


def picture_trace(data: bytes, decoder: PictureDecoder) -> PictureTrace:
    """A broken picture is traced by its bytes alone."""
    try:
        picture = decoder.decode(data)
    except BadItem:
        return PictureTrace(hashlib.sha256(data).hexdigest(), np.zeros(SIDE * SIDE, np.float32))
    grey = np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), np.float32).ravel()
    centred = grey - grey.mean()
    unit = centred / np.linalg.norm(centred) if grey.std() >= _FLAT else np.zeros_like(centred)
    return PictureTrace(hashlib.sha256(data).hexdigest(), unit.astype(np.float32))


def similar_pictures(left: Sequence[PictureTrace], right: Sequence[PictureTrace]) -> Iterator[tuple[int, int, float]]:
    """(left, right, correlation) for each left picture whose best right one reaches SIMILAR."""
    if not left or not right:
        return
    right_DM = np.stack([trace.thumbnail for trace in right]).T
    for start in range(0, len(left), _ROWS_PER_PRODUCT):
        chunk_ND = np.stack([trace.thumbnail for trace in left[start : start + _ROWS_PER_PRODUCT]])
        correlation_NM = chunk_ND @ right_DM
        best_N = correlation_NM.argmax(axis=1)
        for row, best in enumerate(best_N):
            if correlation_NM[row, best] >= SIMILAR:
                yield start + row, int(best), min(float(correlation_NM[row, best]), 1.0)
