"""A picture with all that belongs to it: colour or grey, transparency, bits, colour profile and EXIF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesr.pictures.formats import PictureFormat

Pixels = NDArray[Any]
"""Levels of 8 or 16 bits: uint8 or uint16."""
GREY, RGB = 1, 3
WIDENED = 257
"""What an 8-bit level is in 16 bits: 255 * 257 = 65535."""


@dataclass(frozen=True)
class Metadata:
    """What a picture says about itself: an ICC profile, and EXIF (without JPEG's prefix) of a picture that is upright.

    A profile of another number of colours than the picture has is not kept: it would not describe it.
    """

    icc: bytes | None = None
    exif: bytes | None = None

    def fitting(self, channels: int) -> Metadata:
        """The same without a profile that is for other than grey or RGB, whichever `channels` are."""
        space = b"GRAY" if channels == GREY else b"RGB "
        return Metadata(self.icc if self.icc is not None and self.icc[16:20] == space else None, self.exif)


@dataclass(frozen=True, eq=False)
class Picture:
    """Upright pixels: `colour` (H, W, 1 or 3) and `alpha` (H, W), both uint8 or both uint16; alpha 0 is transparent."""

    colour: Pixels
    alpha: Pixels | None = None
    metadata: Metadata = Metadata()

    def __post_init__(self) -> None:
        """Refuse what is no picture."""
        shape, dtype = self.colour.shape, self.colour.dtype
        if len(shape) != 3 or shape[2] not in (GREY, RGB) or not self.colour.size or dtype not in (np.uint8, np.uint16):
            raise ValueError(f"a picture is (H, W, 1 or 3) in 8 or 16 bits, not {dtype} {shape}")
        if self.alpha is not None and (self.alpha.shape != shape[:2] or self.alpha.dtype != dtype):
            raise ValueError(f"the transparency of {dtype} {shape} is {self.alpha.dtype} {self.alpha.shape}")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.colour.shape[0], self.colour.shape[1]

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return int(self.colour.shape[2])

    @property
    def bits(self) -> int:
        """Bits of a value: 8 or 16."""
        return 8 * self.colour.dtype.itemsize


@dataclass(frozen=True)
class OutputShape:
    """What a picture that is written is like: its size (H, W), colours without alpha, bits of a value."""

    size: tuple[int, int]
    channels: int
    has_alpha: bool
    bits: int
    metadata: Metadata = Metadata()

    @property
    def samples(self) -> int:
        """Values of a pixel, alpha among them."""
        return self.channels + self.has_alpha

    @classmethod
    def enlarged(cls, picture: Picture, scale: int, kind: PictureFormat) -> OutputShape:
        """What becomes of a picture at a scale in a format."""
        size = picture.size[0] * scale, picture.size[1] * scale
        bits = picture.bits if kind.holds_16_bits else 8
        return cls(size, picture.channels, picture.alpha is not None, bits, picture.metadata.fitting(picture.channels))
