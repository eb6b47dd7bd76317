"""MATLAB's `imresize(hr, 1/scale, 'bicubic')` for uint8 images, which made the field's low-resolution images.

Along one axis, of n values x_j at j = 0..n-1, output i of n/s sits at u = s i + (s - 1)/2 and is

    y_i = sum_j k((u - j)/s) x_j / sum_j k((u - j)/s)

    k(t) = 1.5|t|^3 - 2.5|t|^2 + 1 for |t| <= 1,     -0.5|t|^3 + 2.5|t|^2 - 4|t| + 2 for 1 < |t| <= 2,     else 0

The kernel is widened by s: antialiasing. Beyond the border the outermost value is repeated. Columns are reduced
first, rounded half up to uint8, then rows, rounded again: MATLAB keeps the class of its input from pass to pass.
The x4 images of Set5 and Set14 as they are published are met bit for bit, borders included (tests/core).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KERNEL_RADIUS = 2


def reduce_as_matlab(hr: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Reduce an image (H, W, C) to (H/scale, W/scale, C); H and W are multiples of `scale`, else ValueError."""
    height, width, _ = hr.shape
    if height % scale or width % scale:
        raise ValueError(f"{height}x{width} is not a multiple of {scale}: crop it with crop_to_multiple first")
    columns_reduced = _reduce_first_axis(hr, scale)
    return _reduce_first_axis(columns_reduced.transpose(1, 0, 2), scale).transpose(1, 0, 2).copy()


def _reduce_first_axis(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Reduce the first axis of (N, M, C) by `scale`, rounded half up."""
    weights, places = _taps(image.shape[0], scale)
    reduced = np.zeros((weights.shape[0], *image.shape[1:]))
    for tap in range(weights.shape[1]):
        reduced += weights[:, tap, None, None] * image[places[:, tap]]
    return np.floor(np.clip(reduced, 0, 255) + 0.5).astype(np.uint8)


def _taps(length: int, scale: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each output the weights (length/scale, taps), which sum to 1, and the inputs that they are for."""
    centres = scale * np.arange(length // scale) + (scale - 1) / 2
    first = np.floor(centres - KERNEL_RADIUS * scale).astype(np.int64)
    places = first[:, None] + np.arange(2 * KERNEL_RADIUS * scale + 2)
    weights = _cubic((centres[:, None] - places) / scale)
    return weights / weights.sum(axis=1, keepdims=True), places.clip(0, length - 1)


def _cubic(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel with a = -1/2."""
    t = np.abs(t)
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t <= KERNEL_RADIUS, far, 0.0))
