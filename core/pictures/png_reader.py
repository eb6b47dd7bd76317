"""PNG pictures of 16 bits a value, of which Pillow keeps 8 as soon as there is colour or alpha.

Grey, RGB and either with alpha, in one pass or in Adam7's seven. One colour that is transparent (tRNS) becomes alpha.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgesr.pictures.picture import Metadata, Picture
from edgesr.pictures.png_chunks import ALPHA, SIGNATURE, Header, iterate_chunks, unpack_profile
from edgesr.pictures.png_filters import PAETH, undo_filters

BITS_AT = len(SIGNATURE) + 4 + 4 + 8
ROWS_AT_ONCE = 256
ONE_PASS = ((0, 0, 1, 1),)
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row and column of each pass, and the steps between its rows and columns."""


def holds_16_bits(file: BinaryIO) -> bool:
    """Whether a file is a PNG of 16 bits; it is left at its start."""
    start = file.read(BITS_AT + 1)
    file.seek(0)
    return start.startswith(SIGNATURE) and start[BITS_AT:] == bytes([16])


def read_png_16(file: BinaryIO) -> Picture:
    """The picture, not turned yet: its EXIF is as it stands; raises ValueError for a damaged file."""
    try:
        return _Reader(file).read()
    except (struct.error, zlib.error) as error:
        raise ValueError(str(error)) from error


class _Reader:
    """One file: its chunks are consumed as the rows need them."""

    def __init__(self, file: BinaryIO) -> None:
        self._chunks = iterate_chunks(file)
        self._inflate = zlib.decompressobj()
        self._others: dict[bytes, bytes] = {}
        kind, body = next(self._chunks)
        if kind != b"IHDR":
            raise ValueError("it does not begin with its header")
        self._header = Header.unpack(body)

    def read(self) -> Picture:
        header = self._header
        pixels = np.empty((header.height, header.width, header.samples), np.uint16)
        stream = self._bodies()
        rest = bytearray()
        for top, left, down, across in ADAM7 if header.interlaced else ONE_PASS:
            part = pixels[top::down, left::across]
            if part.size:
                self._read_pass(part, stream, rest)
        for _ in self._bodies():
            pass  # chunks behind the pixels are still to come
        return self._finish(pixels)

    def _read_pass(self, part: NDArray[np.uint16], stream: Iterator[bytes], rest: bytearray) -> None:
        """Fill a pass's pixels (h, w, samples) from the inflated stream."""
        stride = 1 + part.shape[1] * self._header.pixel_bytes
        above = np.zeros(stride - 1, np.uint8)
        for start in range(0, len(part), ROWS_AT_ONCE):
            rows = part[start : start + ROWS_AT_ONCE]
            while len(rest) < len(rows) * stride:
                rest += next(stream, b"") or _end()
            stored = np.frombuffer(bytes(rest[: len(rows) * stride]), np.uint8).reshape(len(rows), stride)
            del rest[: len(rows) * stride]
            if stored[:, 0].max() > PAETH:
                raise ValueError(f"a row has the unknown filter {stored[:, 0].max()}")
            plain = undo_filters(stored[:, 0], stored[:, 1:], above, self._header.pixel_bytes)
            above = plain[-1]
            rows[:] = np.ascontiguousarray(plain).view(">u2").reshape(rows.shape)

    def _bodies(self) -> Iterator[bytes]:
        """The inflated pixels, piece by piece; other chunks are kept."""
        for kind, body in self._chunks:
            if kind != b"IDAT":
                self._others[kind] = body
                continue
            piece = self._inflate.decompress(body, 1 << 20)
            while piece:
                yield piece
                piece = self._inflate.decompress(self._inflate.unconsumed_tail, 1 << 20)

    def _finish(self, pixels: NDArray[np.uint16]) -> Picture:
        alpha: NDArray[Any] | None = None
        if self._header.colour_type & ALPHA:
            pixels, alpha = pixels[:, :, :-1], pixels[:, :, -1]
        elif b"tRNS" in self._others:
            key = np.array(struct.unpack(f">{pixels.shape[2]}H", self._others[b"tRNS"]), np.uint16)
            alpha = np.where((pixels == key).all(axis=2), 0, 65535).astype(np.uint16)
        profile = self._others.get(b"iCCP")
        metadata = Metadata(None if profile is None else unpack_profile(profile), self._others.get(b"eXIf"))
        return Picture(pixels, alpha, metadata)


def _end() -> bytes:
    raise ValueError("its pixels end early")
