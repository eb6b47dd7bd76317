"""From a picture to what a network takes, and from the rows that it gives to the rows that are written.

- Grey is repeated to the network's three colours, and the result's grey is its luma, as Pillow's conversion to "L"
  weighs it: 0.299 R + 0.587 G + 0.114 B.
- A network on one channel takes each colour as a picture of its own.
- 16-bit pictures go through files with a float image in 16 bits. A file with an 8-bit image takes round(v / 257) and
  gives 8 bits, of which level v is written as 257 * v.
- Transparency is enlarged by bicubic interpolation: a mask is no photograph, and a network trained on those adds
  texture to it; Pillow's kernel (a = -0.5) on the whole picture, some rows of it at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgesr.pictures.picture import GREY, WIDENED, OutputShape, Picture, Pixels

AT_ONCE = 1 << 16
"""Output pixels that are put together at a time: their bytes stay in a processor's cache while they are filtered."""
LUMA = (19595, 38470, 7471)
"""Weights of red, green and blue, of 65536: no 16-bit sum exceeds 32 bits."""


def network_images(picture: Picture, channels: int) -> list[NDArray[Any]]:
    """The images (1, H, W, channels) that the network runs: one, or each colour where it takes one channel."""
    colour = picture.colour
    if channels == picture.channels:
        return [colour[None]]
    if channels == GREY:
        return [colour[None, :, :, c : c + 1] for c in range(picture.channels)]
    return [np.broadcast_to(colour, (*picture.size, channels))[None]]


def finish_rows(
    picture: Picture, strip: NDArray[Any], first: int, scale: int, shape: OutputShape, value_range: float
) -> Iterator[Pixels]:
    """What is written of a network's rows (N, sW, C), of which the first is row `first` of the whole: some at a time.

    The rows are uint8, or float32 in [0, value_range]; N and `first` are multiples of `scale`.
    """
    step = max(1, AT_ONCE // (scale * strip.shape[1])) * scale
    for start in range(0, len(strip), step):
        rows = _levels(strip[start : start + step], shape.bits, value_range)
        rows = _grey(rows) if shape.channels == GREY else rows
        if picture.alpha is not None:
            alpha = enlarge_rows(picture.alpha, scale, (first + start) // scale, (first + start + len(rows)) // scale)
            rows = np.concatenate((rows, _to_bits(alpha, shape.bits)[:, :, None]), axis=2)
        yield rows


def enlarge_rows(mask: Pixels, scale: int, start: int, stop: int) -> Pixels:
    """The rows of `mask` (H, W), enlarged by bicubic interpolation, that come from its rows start to stop - 1."""
    if scale == 1:
        return mask[start:stop]
    above, below = max(0, start - 2), min(len(mask), stop + 2)  # what the kernel reaches
    piece = Image.fromarray(mask[above:below].astype(np.float32))
    size = (mask.shape[1] * scale, (stop - start) * scale)
    box = (0, start - above, mask.shape[1], stop - above)
    smooth = np.asarray(piece.resize(size, Image.Resampling.BICUBIC, box=box))
    enlarged: Pixels = np.rint(np.clip(smooth, 0, np.iinfo(mask.dtype).max)).astype(mask.dtype)
    return enlarged


def _levels(rows: NDArray[Any], bits: int, value_range: float) -> Pixels:
    """Whole levels of that many bits."""
    if rows.dtype == np.uint8:
        return _to_bits(rows, bits)
    most = 2**bits - 1
    levels: Pixels = np.rint(np.clip(rows * (most / value_range), 0, most)).astype(
        np.uint16 if bits == 16 else np.uint8
    )
    return levels


def _to_bits(levels: Pixels, bits: int) -> Pixels:
    if bits == 8 * levels.dtype.itemsize:
        return levels
    if bits == 16:
        return levels.astype(np.uint16) * np.uint16(WIDENED)
    return ((levels.astype(np.uint32) + WIDENED // 2) // WIDENED).astype(np.uint8)


def _grey(rows: Pixels) -> Pixels:
    """The luma (N, W, 1) of colours."""
    if rows.shape[2] == GREY:
        return rows
    weighted = sum(rows[:, :, c].astype(np.uint32) * np.uint32(w) for c, w in enumerate(LUMA))
    luma: Pixels = ((np.asarray(weighted) + 32768) >> 16).astype(rows.dtype)
    return luma[:, :, None]
