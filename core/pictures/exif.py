r"""Orientation in EXIF: what it says, the picture turned by it, and the same EXIF that says "upright".

EXIF is a TIFF file (without the `Exif\0\0` that JPEG puts before it): byte order, the number 42, the offset of the
first directory, which is a count and entries of 12 bytes: tag, type, count, value. The orientation is changed in place,
so that every other byte stays what and where it was: maker notes hold offsets that no rewriting would keep.
"""

from __future__ import annotations

import struct
from typing import Any

from numpy.typing import NDArray

PREFIX = b"Exif\0\0"
ORIENTATION = 0x0112
UPRIGHT = 1
SHORT = 3


def reset_orientation(exif: bytes) -> bytes:
    """The same EXIF with orientation 1; itself where it says none, or is too damaged to tell."""
    place = _find_orientation(exif)
    if place is None:
        return exif
    order, offset = place
    return exif[:offset] + struct.pack(order + "H", UPRIGHT) + exif[offset + 2 :]


def read_orientation(exif: bytes) -> int:
    """The orientation, 1 to 8; 1 where there is none."""
    place = _find_orientation(exif)
    found = UPRIGHT if place is None else struct.unpack_from(place[0] + "H", exif, place[1])[0]
    return found if 1 <= found <= 8 else UPRIGHT


def turn_upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A view of an array (H, W, ...) as it is to be seen; 5 to 8 exchange height and width."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


def _find_orientation(exif: bytes) -> tuple[str, int] | None:
    """The byte order and where the value stands."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == ORIENTATION and kind == SHORT and entry + 10 <= len(exif):
                return order, entry + 8
    except struct.error:
        return None
    return None
