"""The one number of EXIF that changes what a picture shows: how it is turned."""

import struct

UPRIGHT = 1
_MARK = b"Exif\0\0"
_TAG, _SHORT, _ENTRY_BYTES = 0x0112, 3, 12
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def orientation(block: bytes) -> int:
    """1 to 8; 1, which changes nothing, for a block that is malformed or names no orientation that there is."""
    tiff = block.removeprefix(_MARK)
    order = _ORDERS.get(bytes(tiff[:4]))
    if order is None:
        return UPRIGHT
    try:
        return _from_first_directory(tiff, order)
    except struct.error:
        return UPRIGHT


def _from_first_directory(tiff: bytes, order: str) -> int:
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (entries,) = struct.unpack_from(f"{order}H", tiff, start)
    for entry in range(entries):
        tag, kind, count, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + entry * _ENTRY_BYTES)
        if tag == _TAG:
            return value if (kind, count) == (_SHORT, 1) and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
