"""Bicubic reduction as Pillow does it: of the photographs that INT8 is learned and judged on.

Training reduces by MATLAB's own arithmetic (`matlab_bicubic`), which the field's test images were made by.

MATLAB's `imresize(hr, 1/4, 'bicubic')` with antialiasing is the field's definition of classical super-resolution.
Pillow's BICUBIC uses the same kernel (a = -0.5, widened by the factor) and differs in two ways: it renormalises the
kernel at the image border where MATLAB repeats the outermost pixel, and each pass rounds in its own way.
Measured against the published x4 LR images of Set5: two or more pixels from the border at most 2 levels apart,
0.15 levels on average, and more than 1 level on 0.004 % of the values; at the border up to 9 levels on single pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def downsample(hr: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Reduce an image (H, W, 3) or (H, W, 1) to (H/scale, W/scale, C); H and W are multiples of `scale`."""
    height, width, _ = hr.shape
    if height % scale or width % scale:
        raise ValueError(f"{height}x{width} is not a multiple of {scale}: crop it with crop_to_multiple first")
    return resized(hr, (height // scale, width // scale))


def resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image (H, W, 3) or (H, W, 1) brought to a size (h, w) by Pillow's bicubic kernel."""
    picture = Image.fromarray(image if image.shape[2] > 1 else image[:, :, 0])
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BICUBIC)).reshape(*size, image.shape[2])


def crop_to_multiple(image: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """Cut (H, W, 3) at the bottom and right to multiples of `multiple`."""
    height, width = (size - size % multiple for size in image.shape[:2])
    return image[:height, :width]
