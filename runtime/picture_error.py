"""What a user would see of an error: a picture beside the float network's, both in 8 bits.

- *shift*: the mean of (found - network) for each channel, in levels of 1/255. Rounding scatters around zero and
  averages out; what stays is a tint, or a picture that became darker or lighter.
- *wrongly clipped*: a pixel with a channel on 255 (white) or 0 (black) where the network's own value, clipped and
  rounded to 8 bits, is more than one level away from that rail. One level is what honest rounding may do, by which a
  254 becomes a 255. The noise of INT8 (42 dB: 2 levels RMS) takes values that are near a rail onto it as well.
- *cut off*: those of them that are more than 8 levels away, four times that noise.
- *lost*: those cut off where the truth, too, is more than 8 levels away from that rail: detail that a user would see.
  What the float network draws as ringing beside black and white may be cut off without being lost. Only known where
  there is a truth to compare with.
- PSNR over the interior and over the border ring (the outermost pixels, as many as the scale, which quality protocols
  crop): padding errors live in the ring and drown in the mean of a whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesr.runtime.metrics import psnr_float_db

BLACK, WHITE = 0, 255
ROUNDING_LEVELS, NOISE_LEVELS = 1, 8


@dataclass(frozen=True)
class PictureError:
    """The error of one picture against the float network's, in dB (infinite where equal), levels and shares (0..1).

    `interior_psnr_db` is None for a picture that is all border, `lost_share` where the truth is not known.
    """

    interior_psnr_db: float | None
    border_psnr_db: float
    shift_levels: tuple[float, ...]
    white_share: float
    black_share: float
    cut_off_share: float
    lost_share: float | None = None

    @property
    def worst_shift_levels(self) -> float:
        """The largest shift of a channel, without its sign."""
        return max(abs(shift) for shift in self.shift_levels)

    @property
    def clipped_share(self) -> float:
        """The share of wrongly clipped pixels, white and black; one with a channel of each counts in both."""
        return self.white_share + self.black_share


@dataclass(frozen=True)
class PictureErrors:
    """The errors of several pictures; means are over pictures, and the worst is that of one picture."""

    images: tuple[PictureError, ...]

    @property
    def interior_psnr_db(self) -> float | None:
        """Mean PSNR of the interiors; None where no picture has one."""
        known = [image.interior_psnr_db for image in self.images if image.interior_psnr_db is not None]
        return sum(known) / len(known) if known else None

    @property
    def border_psnr_db(self) -> float:
        """Mean PSNR of the border rings."""
        return sum(image.border_psnr_db for image in self.images) / len(self.images)

    @property
    def shift_levels(self) -> tuple[float, ...]:
        """Mean shift of each channel, with its sign."""
        return tuple(float(x) for x in np.mean([image.shift_levels for image in self.images], axis=0))

    @property
    def worst_shift_levels(self) -> float:
        """The largest shift of a channel in one picture."""
        return max(image.worst_shift_levels for image in self.images)

    @property
    def white_share(self) -> float:
        """Mean share of pixels wrongly clipped to white."""
        return sum(image.white_share for image in self.images) / len(self.images)

    @property
    def black_share(self) -> float:
        """Mean share of pixels wrongly clipped to black."""
        return sum(image.black_share for image in self.images) / len(self.images)

    @property
    def cut_off_share(self) -> float:
        """Mean share of pixels cut off."""
        return sum(image.cut_off_share for image in self.images) / len(self.images)

    @property
    def lost_share(self) -> float | None:
        """Mean share of pixels whose detail is lost; None where a picture has no truth."""
        known = [image.lost_share for image in self.images if image.lost_share is not None]
        return sum(known) / len(self.images) if len(known) == len(self.images) else None

    @property
    def worst_clipped_share(self) -> float:
        """The largest share of wrongly clipped pixels in one picture."""
        return max(image.clipped_share for image in self.images)

    def to_json(self) -> dict[str, object]:
        """Plain values; a PSNR may be infinite."""
        return {
            "interior_psnr_db": self.interior_psnr_db,
            "border_psnr_db": self.border_psnr_db,
            "shift_levels": list(self.shift_levels),
            "worst_shift_levels": self.worst_shift_levels,
            "white_share": self.white_share,
            "black_share": self.black_share,
            "cut_off_share": self.cut_off_share,
            "lost_share": self.lost_share,
            "worst_clipped_share": self.worst_clipped_share,
        }


def compare_pictures(
    found: NDArray[np.uint8], network: NDArray[np.uint8], ring: int, truth: NDArray[np.uint8] | None = None
) -> PictureError:
    """The error of `found` against the float network's picture, both uint8 (H, W, C), with a border of `ring` pixels.

    `truth` is the picture (H, W, C) that the network was meant to give, where that is known.

    Raises:
        ValueError: the pictures differ in shape.

    """
    if found.shape != network.shape:
        raise ValueError(f"pictures of one size are compared, not {found.shape} and {network.shape}")
    difference = found.astype(np.int16) - network
    white, black = _clipped(found, network, ROUNDING_LEVELS)
    cut_off = np.stack(_clipped(found, network, NOISE_LEVELS))
    lost = None if truth is None else cut_off & np.stack(_clipped(found, truth, NOISE_LEVELS))
    inside = interior(found.shape[:2], ring)
    return PictureError(
        psnr_float_db(found[inside], network[inside], WHITE) if inside.any() else None,
        border_psnr_db(found, network, ring),
        tuple(float(shift) for shift in difference.mean(axis=(0, 1))),
        float(white.any(axis=2).mean()),
        float(black.any(axis=2).mean()),
        _share(cut_off),
        None if lost is None else _share(lost),
    )


def _share(rails: NDArray[np.bool_]) -> float:
    """The share of pixels of which a channel is on one of the rails (2, H, W, C)."""
    return float(rails.any(axis=(0, 3)).mean())


def _clipped(
    found: NDArray[np.uint8], network: NDArray[np.uint8], levels: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which values are on white and on black although the network's are more than `levels` away from there."""
    return (found == WHITE) & (network < WHITE - levels), (found == BLACK) & (network > BLACK + levels)


def border_psnr_db(a: NDArray[np.uint8], b: NDArray[np.uint8], ring: int) -> float:
    """PSNR over the outermost `ring` pixels alone, all channels, in dB; infinite where they are equal."""
    outside = ~interior(a.shape[:2], ring)
    return psnr_float_db(a[outside], b[outside], WHITE)


def interior(size: Sequence[int], ring: int) -> NDArray[np.bool_]:
    """Which pixels (H, W) lie further than `ring` from every edge."""
    inside = np.zeros(tuple(size), bool)
    inside[ring:-ring, ring:-ring] = True
    return inside
