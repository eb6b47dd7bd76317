"""Pictures within a page: pieces of a network's picture beside others of the same place, and a map of the error.

All are lossless, as data URIs. The piece is where the file differs most from the float network.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgesr.compared_picture import ComparedPicture
from edgesr.images import Image8

STEPS = ((0, "#101318"), (1, "#274b76"), (2, "#3f86b8"), (4, "#f0d264"), (8, "#f08c3c"), (16, "#e2382c"))
"""The error map: from so many levels of 1/255 on, this colour. INT8 at 42 dB differs by 2 levels (RMS)."""
PIECE, DETAIL = 192, 48
"""Sides, in pixels, of the piece that is shown at its own size and of the one that is shown enlarged."""
MAP_SIDE = 480
"""The longest side of the map of a whole picture; a pixel of it is the largest error of those that it stands for."""


def describe_picture(compared: ComparedPicture) -> dict[str, object]:
    """Plain values for a page: what the pieces are, and every piece as a data URI by its name."""
    error = np.abs(compared.found.astype(np.int16) - compared.network).max(axis=2).astype(np.uint8)
    height, width = error.shape
    pictures = {"bicubic": _bicubic(compared), "FP32": compared.network}
    pictures |= {"HR": compared.truth} if compared.truth is not None else {}
    pictures["file"] = compared.found
    top, left, tall, wide = _place(error, PIECE)
    inner = _place(error[top : top + tall, left : left + wide], DETAIL)
    y, x, detail_height, detail_width = top + inner[0], left + inner[1], inner[2], inner[3]
    return {
        "name": compared.name,
        "runner": compared.runner,
        "size": [height, width],
        "piece": [top, left, tall, wide],
        "detail": [y, x, detail_height, detail_width],
        "pieces": {name: _uri(image[top : top + tall, left : left + wide]) for name, image in pictures.items()},
        "details": {name: _uri(image[y : y + detail_height, x : x + detail_width]) for name, image in pictures.items()},
        "map": _uri(colour(reduce_by_largest(error, MAP_SIDE))),
        "largest_levels": int(error.max()),
        "mean_levels": float(error.mean()),
    }


def colour(error: NDArray[np.uint8]) -> Image8:
    """The map (H, W, 3) of errors (H, W) in levels."""
    palette = np.array([[int(code[i : i + 2], 16) for i in (1, 3, 5)] for _, code in STEPS], np.uint8)
    bounds = [levels for levels, _ in STEPS]
    coloured: Image8 = palette[np.searchsorted(bounds, error, side="right") - 1]
    return coloured


def reduce_by_largest(error: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """The map with its longer side at most `longest`: each value the largest of a square."""
    factor = -(-max(error.shape) // longest)
    height, width = (-(-side // factor) * factor for side in error.shape)
    padded = np.pad(error, ((0, height - error.shape[0]), (0, width - error.shape[1])))
    squares = padded.reshape(height // factor, factor, width // factor, factor)
    reduced: NDArray[np.uint8] = squares.max(axis=(1, 3))
    return reduced


def _place(error: NDArray[np.uint8], side: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of the piece with the largest sum of squared errors, on a coarse grid."""
    height, width = (min(side, n) for n in error.shape)
    sums = np.zeros((error.shape[0] + 1, error.shape[1] + 1))
    sums[1:, 1:] = np.square(error.astype(np.float64)).cumsum(axis=0).cumsum(axis=1)
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(top), int(left), height, width


def _bicubic(compared: ComparedPicture) -> Image8:
    height, width = compared.network.shape[:2]
    return np.asarray(Image.fromarray(compared.small).resize((width, height), Image.Resampling.BICUBIC))


def _uri(image: Image8) -> str:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "WEBP", lossless=True, quality=20, method=1)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
