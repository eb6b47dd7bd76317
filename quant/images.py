"""Calibration images: a folder of the user's, or the builtin set, cut to pieces of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from edgesr.errors import CalibrationError
from edgesr.images import list_images, load_rgb
from edgesr.progress import Progress, silent
from edgesr.quant.builtin import builtin_calibration_paths

Item = TypeVar("Item")

MAX_IMAGES = 64
MAX_SIDE = 192
MIN_PIXELS = 4096
"""One 64x64 image; with less, a tail of 3e-5 is a handful of values."""


@dataclass(frozen=True, eq=False)
class CalibrationImages:
    """uint8 RGB pieces (H, W, 3), the folder they came from, and each one's file name."""

    pieces: tuple[np.ndarray, ...]
    source: str
    names: tuple[str, ...]


def load_calibration_images(
    folder: Path | None, size_multiple: int = 1, progress: Progress = silent
) -> CalibrationImages:
    """The images of a folder, at most 64 spread evenly over it, or the builtin set where `folder` is None.

    Images beyond 192 pixels are cut to their centre: a network's statistics are local, and memory is bounded. Raises
    `ImageError` for an unreadable folder or image and `CalibrationError` where all of it is too small.
    """
    paths = builtin_calibration_paths() if folder is None else list_images(folder)
    chosen = spread(paths, MAX_IMAGES)
    pieces: dict[str, np.ndarray] = {}
    for done, path in enumerate(chosen):
        progress("reading calibration images", done, len(chosen))
        piece = centre(load_rgb(path), size_multiple)
        if piece.size:
            pieces[path.name] = piece
    progress("reading calibration images", len(chosen), len(chosen))
    source = "builtin" if folder is None else str(folder)
    if sum(piece.shape[0] * piece.shape[1] for piece in pieces.values()) < MIN_PIXELS:
        cut = f" in multiples of {size_multiple}" if size_multiple > 1 else ""
        raise CalibrationError(
            f"{source}: the images hold fewer than {MIN_PIXELS} pixels together{cut}, too few to calibrate on; "
            f"give some dozen natural images of {max(64, size_multiple)}x{max(64, size_multiple)} or more with --calib"
        )
    return CalibrationImages(tuple(pieces.values()), source, tuple(pieces))


def centre(image: np.ndarray, size_multiple: int, max_side: int = MAX_SIDE) -> np.ndarray:
    """The middle of an image, a multiple of `size_multiple` and at most `max_side` pixels a side, or one multiple.

    A copy: a view would keep the whole image in memory.
    """
    limit = max(max_side, size_multiple)
    height, width = (min(n, limit) // size_multiple * size_multiple for n in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width].copy()


def middles(images: Sequence[np.ndarray], count: int, max_side: int, size_multiple: int) -> list[np.ndarray]:
    """The middles, at most `max_side` pixels a side, of at most `count` images spread evenly over all."""
    return [centre(image, size_multiple, max_side) for image in spread(images, count)]


def spread(items: Sequence[Item], limit: int) -> list[Item]:
    """At most `limit` of the items, evenly over all of them."""
    if len(items) <= limit:
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]
