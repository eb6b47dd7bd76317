"""Image metrics by the NTIRE protocol: RGB PSNR, PSNR of luma and SSIM of luma on uint8 images, borders cropped.

Images are uint8 (H, W, 3) RGB; `crop` pixels are left out on each side (the challenge crops as many as its scale, 4).
Luma is ITU-R BT.601 as MATLAB's rgb2ycbcr defines it, 16..235 for black..white, kept in float64: MATLAB rounds it to
uint8 for uint8 input, the field's Python evaluation code does not, and neither does this. The peak is 255 throughout.

SSIM is Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural similarity"
(2004): 11x11 Gaussian window of sigma 1.5, C1 = (0.01*255)^2, C2 = (0.03*255)^2, averaged where the window fits whole.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

SSIM_WINDOW = 11
_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2
_LUMA = np.array([65.481, 128.553, 24.966]) / 255.0


def to_uint8(x: ArrayLike, value_range: float) -> NDArray[np.uint8]:
    """Map values in [0, value_range] to 0..255, of any shape: clipped, then rounded half to even, as torch.round does.

    Raises:
        ValueError: `x` holds NaN.

    """
    levels = np.asarray(x, dtype=np.float64) * (255.0 / value_range)
    if np.isnan(levels).any():
        raise ValueError("cannot turn NaN into pixels")
    return np.rint(np.clip(levels, 0.0, 255.0)).astype(np.uint8)


def modcrop(hr: NDArray[np.uint8], lr_size: tuple[int, int], scale: int) -> NDArray[np.uint8]:
    """Crop an HR image (H, W, 3) at the top left to `scale` times the LR size (height, width).

    Data sets whose HR sizes are no multiples of the scale were cropped so before they were downscaled.

    Raises:
        ValueError: the HR image is smaller than that, or larger by `scale` pixels or more: it is no pair.

    """
    height, width = lr_size[0] * scale, lr_size[1] * scale
    if not (0 <= hr.shape[0] - height < scale and 0 <= hr.shape[1] - width < scale):
        raise ValueError(f"HR of {hr.shape[0]}x{hr.shape[1]} is not x{scale} of LR {lr_size[0]}x{lr_size[1]}")
    return hr[:height, :width]


def psnr_db(a: NDArray[np.uint8], b: NDArray[np.uint8], crop: int) -> float:
    """Peak signal-to-noise ratio over all three channels, in dB; infinite for equal images.

    Raises:
        ValueError: the images are not uint8 (H, W, 3) of one shape, or nothing is left after the crop.

    """
    first, second = _cropped_pair(a, b, crop)
    return psnr_float_db(first, second, 255.0)


def psnr_y_db(a: NDArray[np.uint8], b: NDArray[np.uint8], crop: int) -> float:
    """Peak signal-to-noise ratio of unrounded BT.601 luma, in dB against a peak of 255; raises as `psnr_db`."""
    first, second = _cropped_pair(a, b, crop)
    return psnr_float_db(luma(first), luma(second), 255.0)


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8], crop: int) -> float:
    """Mean structural similarity of unrounded BT.601 luma, 1 for equal images.

    Raises:
        ValueError: as `psnr_db`, or less than 11x11 pixels are left after the crop.

    """
    first, second = _cropped_pair(a, b, crop)
    if min(first.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs {SSIM_WINDOW}x{SSIM_WINDOW} pixels after the crop, not {first.shape[:2]}")
    x, y = luma(first), luma(second)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    var_x = _window_mean(x * x) - mean_x**2
    var_y = _window_mean(y * y) - mean_y**2
    cov = _window_mean(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + _C1) * (2 * cov + _C2)
    similarity /= (mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2)
    return float(similarity.mean())


def psnr_float_db(a: ArrayLike, b: ArrayLike, peak: float) -> float:
    """Peak signal-to-noise ratio of two arrays of one shape, in dB, computed in float64; infinite for equal arrays.

    Raises:
        ValueError: the shapes differ, or the arrays are empty.

    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.size == 0:
        raise ValueError(f"PSNR needs two arrays of one shape, not {first.shape} and {second.shape}")
    mse = float(np.mean(np.square(first - second)))
    return math.inf if mse == 0.0 else 10.0 * math.log10(peak**2 / mse)


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """BT.601 luma of a uint8 (..., 3) RGB image, 16..235, unrounded: (...)."""
    return 16.0 + rgb @ _LUMA


def _cropped_pair(a: NDArray[np.uint8], b: NDArray[np.uint8], crop: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    for image in (a, b):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"an image is uint8 (H, W, 3), not {image.dtype} {image.shape}")
    if a.shape != b.shape:
        raise ValueError(f"images of one size are compared, not {a.shape} and {b.shape}")
    if crop < 0 or min(a.shape[:2]) <= 2 * crop:
        raise ValueError(f"a crop of {crop} pixels on each side leaves nothing of {a.shape}")
    inside = slice(crop, -crop or None)
    return a[inside, inside], b[inside, inside]


def _window_mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian-weighted mean of every whole 11x11 window of (H, W): (H - 10, W - 10); the window is separable."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    height, width = x.shape[0] - SSIM_WINDOW + 1, x.shape[1] - SSIM_WINDOW + 1
    rows = sum((w * x[i : i + height] for i, w in enumerate(weights)), start=np.zeros((height, x.shape[1])))
    return sum((w * rows[:, i : i + width] for i, w in enumerate(weights)), start=np.zeros((height, width)))
