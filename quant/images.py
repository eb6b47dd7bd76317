"""Calibration images: a folder of the user's, or the builtin set, cut to pieces of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesr.errors import CalibrationError
from edgesr.images import list_images, load_rgb
from edgesr.progress import Progress, silent
from edgesr.quant.builtin import builtin_calibration_paths

MAX_IMAGES = 64
MAX_SIDE = 192
MIN_PIXELS = 4096
"""One 64x64 image; with less, a 1e-4 tail of a channel is a fraction of one value."""


@dataclass(frozen=True, eq=False)
class CalibrationImages:
    """uint8 RGB pieces (H, W, 3) and where they came from."""

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
    chosen = _spread(paths, MAX_IMAGES)
    pieces: list[np.ndarray] = []
    for done, path in enumerate(chosen):
        progress("reading calibration images", done, len(chosen))
        piece = centre(load_rgb(path), size_multiple)
        if piece.size:
            pieces.append(piece)
    progress("reading calibration images", len(chosen), len(chosen))
    if sum(piece.shape[0] * piece.shape[1] for piece in pieces) < MIN_PIXELS:
        raise CalibrationError(
            f"{folder}: the images hold fewer than {MIN_PIXELS} pixels together, too few to calibrate on; "
            "give some dozen natural images of 64x64 or more with --calib"
        )
    return CalibrationImages(tuple(pieces), "builtin" if folder is None else str(folder), tuple(p.name for p in chosen))


def centre(image: np.ndarray, size_multiple: int) -> np.ndarray:
    """The middle of an image, at most 192 pixels a side and a multiple of `size_multiple`."""
    height, width = (min(n, MAX_SIDE) // size_multiple * size_multiple for n in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _spread(paths: Sequence[Path], limit: int) -> list[Path]:
    if len(paths) <= limit:
        return list(paths)
    return [paths[i * len(paths) // limit] for i in range(limit)]
