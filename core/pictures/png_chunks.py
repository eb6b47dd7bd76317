"""PNG files as chunks (length, kind, body and checksum) behind a signature; the header, and compressed bodies."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, ClassVar

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR, ALPHA = 2, 4
"""Bits of a PNG's colour type; grey has neither."""


@dataclass(frozen=True)
class Header:
    """The chunk IHDR: size in pixels, bits of a value, colour type, and whether rows come in Adam7's seven passes."""

    FORMAT: ClassVar[str] = ">IIBBBBB"
    width: int
    height: int
    bits: int
    colour_type: int
    interlaced: bool = False

    @property
    def samples(self) -> int:
        """Values of a pixel; for colour types without a palette."""
        return (3 if self.colour_type & COLOUR else 1) + bool(self.colour_type & ALPHA)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a pixel, for 8 and 16 bits."""
        return self.samples * self.bits // 8

    def pack(self) -> bytes:
        """The chunk's body."""
        fields = (self.width, self.height, self.bits, self.colour_type, 0, 0, int(self.interlaced))
        return struct.pack(self.FORMAT, *fields)

    @classmethod
    def unpack(cls, body: bytes) -> Header:
        """The header that a chunk's body says; raises `struct.error` for one of another length."""
        width, height, bits, colour_type, _, _, interlaced = struct.unpack(cls.FORMAT, body)
        return cls(width, height, bits, colour_type, bool(interlaced))


def pack_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk as a file holds it."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def iterate_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of every chunk up to IEND, from the file's start; raises ValueError for a damaged one."""
    if file.read(len(SIGNATURE)) != SIGNATURE:
        raise ValueError("it is no PNG file")
    kind = b""
    while kind != b"IEND":
        start = file.read(8)
        if len(start) < 8:
            raise ValueError("it ends early")
        length, kind = struct.unpack(">I4s", start)
        body, check = file.read(length), file.read(4)
        if len(body) < length or len(check) < 4:
            raise ValueError("it ends early")
        if struct.unpack(">I", check)[0] != zlib.crc32(body, zlib.crc32(kind)):
            raise ValueError(f"the checksum of its chunk {kind.decode('latin-1')} does not fit")
        yield kind, body


def pack_profile(icc: bytes) -> bytes:
    """The body of iCCP."""
    return b"ICC profile\0\0" + zlib.compress(icc)


def unpack_profile(body: bytes) -> bytes | None:
    """The profile in iCCP; None where it is damaged, which no pixel depends on."""
    _, _, rest = body.partition(b"\0")
    try:
        return zlib.decompress(rest[1:])
    except zlib.error:
        return None
