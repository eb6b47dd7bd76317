"""PNG row by row: memory for some rows, whatever the picture's size.

Rows are filtered (`png_filters`) and deflated by Intel's ISA-L, which runs on Arm as well: a PNG must not
take longer to write than a network takes to compute it (docs/adr/0019-isal.md).
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from isal import isal_zlib

from edgesr.pictures.picture import OutputShape, Pixels
from edgesr.pictures.png_chunks import ALPHA, COLOUR, SIGNATURE, Header, pack_chunk, pack_profile
from edgesr.pictures.png_filters import filter_rows

BODY_BYTES = 1 << 20
"""How long the chunks of pixels become."""
LEVEL = 2
"""ISA-L's, of 0 to 3."""


class PngWriter:
    """Writes one picture to a file that need not be seekable."""

    def __init__(self, file: BinaryIO, shape: OutputShape) -> None:
        colour_type = (COLOUR if shape.channels > 1 else 0) | (ALPHA if shape.has_alpha else 0)
        self._header = Header(shape.size[1], shape.size[0], shape.bits, colour_type)
        self._file = file
        self._deflate = isal_zlib.compressobj(LEVEL)
        self._above = np.zeros(self._header.width * self._header.pixel_bytes, np.uint8)
        self._waiting: list[bytes] = []
        self._left = self._header.height
        file.write(SIGNATURE + pack_chunk(b"IHDR", self._header.pack()))
        if shape.metadata.icc is not None:
            file.write(pack_chunk(b"iCCP", pack_profile(shape.metadata.icc)))
        if shape.metadata.exif is not None:
            file.write(pack_chunk(b"eXIf", shape.metadata.exif))

    def write(self, rows: Pixels) -> None:
        """Add rows (N, W, samples) of the picture's bits; raises ValueError for others, and for more than it has."""
        header = self._header
        if rows.shape[1:] != (header.width, header.samples) or 8 * rows.dtype.itemsize != header.bits:
            raise ValueError(f"rows are (N, {header.width}, {header.samples}), not {rows.dtype} {rows.shape}")
        self._left -= len(rows)
        if self._left < 0:
            raise ValueError(f"{-self._left} rows too many")
        data = np.ascontiguousarray(rows.astype(">u2") if header.bits == 16 else rows)
        plain = data.view(np.uint8).reshape(len(rows), -1)
        stored = filter_rows(plain, self._above, header.pixel_bytes)
        self._above = plain[-1].copy()
        self._put(self._deflate.compress(stored.data))

    def close(self) -> None:
        """Write what is left; raises ValueError where rows are missing."""
        if self._left:
            raise ValueError(f"{self._left} rows are missing")
        self._put(self._deflate.flush(), last=True)
        self._file.write(pack_chunk(b"IEND", b""))

    def _put(self, data: bytes, last: bool = False) -> None:
        """Keep compressed bytes until a chunk is worth its head."""
        self._waiting.append(data)
        if last or sum(map(len, self._waiting)) >= BODY_BYTES:
            self._file.write(pack_chunk(b"IDAT", b"".join(self._waiting)))
            self._waiting.clear()
