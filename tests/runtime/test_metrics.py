import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgesr.runtime.metrics import luma, modcrop, psnr_db, psnr_float_db, psnr_y_db, ssim, to_uint8

Image = NDArray[np.uint8]


def noisy_pair(height: int = 37, width: int = 52, seed: int = 0) -> tuple[Image, Image]:
    """A smooth picture with an edge, and the same with noise that differs between the channels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    clean = np.stack([128 + 90 * np.sin(x / 7), 5.0 * y + 20 * (x > 20), 200 - 3 * x], axis=2).clip(0, 255)
    noise = rng.normal(0, [4, 9, 15], clean.shape)
    return clean.astype(np.uint8), (clean + noise).clip(0, 255).astype(np.uint8)


def psnr_by_hand(a: Image, b: Image, crop: int) -> float:
    """The definition in plain Python integers."""
    height, width, channels = a.shape
    squares = [
        (int(a[y, x, c]) - int(b[y, x, c])) ** 2
        for y in range(crop, height - crop)
        for x in range(crop, width - crop)
        for c in range(channels)
    ]
    return 20 * math.log10(255) - 10 * math.log10(sum(squares) / len(squares))


@pytest.mark.parametrize("crop", [0, 1, 4])
def test_psnr_is_its_definition(crop: int) -> None:
    a, b = noisy_pair()
    assert psnr_db(a, b, crop) == pytest.approx(psnr_by_hand(a, b, crop), abs=1e-9)


def test_psnr_of_one_level_everywhere() -> None:
    a = np.full((9, 9, 3), 100, np.uint8)
    assert psnr_db(a, a + np.uint8(1), 0) == pytest.approx(48.1308, abs=1e-4)
    assert psnr_db(a + np.uint8(1), a, 0) == pytest.approx(48.1308, abs=1e-4)


def test_crop_leaves_out_exactly_the_border() -> None:
    a, _ = noisy_pair()
    b = a.copy()
    b[3, :], b[:, -4] = 255 - b[3, :], 255 - b[:, -4]
    assert psnr_db(a, b, 4) == math.inf
    assert psnr_db(a, b, 3) < 40


def test_luma_of_known_colours() -> None:
    """MATLAB's documented range, and the primaries' weights in percent (29.9, 58.7, 11.4 of 219 levels)."""
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    expected = [16.0, 235.0, 16 + 0.299 * 219, 16 + 0.587 * 219, 16 + 0.114 * 219]
    np.testing.assert_allclose(luma(colours), expected, atol=1e-9)


def test_luma_is_not_rounded() -> None:
    a = np.full((12, 12, 3), 100, np.uint8)
    assert psnr_y_db(a, a + np.uint8(1), 0) == pytest.approx(20 * math.log10(255 / (219 / 255)), abs=1e-9)


def test_y_psnr_and_ssim_agree_with_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is the independent implementation")
    colour = pytest.importorskip("skimage.color", reason="scikit-image is the independent implementation")
    for seed, crop in ((0, 0), (1, 4)):
        a, b = noisy_pair(seed=seed)
        inside = slice(crop, -crop or None)
        y_a, y_b = (colour.rgb2ycbcr(image[inside, inside])[:, :, 0] for image in (a, b))
        expected_psnr = metrics.peak_signal_noise_ratio(y_a, y_b, data_range=255)
        expected_ssim = metrics.structural_similarity(
            y_a, y_b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert psnr_y_db(a, b, crop) == pytest.approx(expected_psnr, abs=1e-6)
        assert ssim(a, b, crop) == pytest.approx(expected_ssim, abs=1e-7)


def test_ssim_of_one_window_is_its_definition() -> None:
    """An 11x11 image has one window: the formula of the paper with an explicit two-dimensional kernel."""
    a, b = (image[:11, 15:26] for image in noisy_pair())
    offsets = np.arange(11) - 5
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    x, y = luma(a), luma(b)
    mx, my = (kernel * x).sum(), (kernel * y).sum()
    vx, vy, cov = (kernel * (x - mx) ** 2).sum(), (kernel * (y - my) ** 2).sum(), (kernel * (x - mx) * (y - my)).sum()
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(a, b, 0) == pytest.approx(expected, abs=1e-9)
    assert expected < 0.99


def test_equal_images() -> None:
    a, _ = noisy_pair()
    assert psnr_db(a, a, 4) == math.inf
    assert psnr_y_db(a, a, 4) == math.inf
    assert ssim(a, a, 4) == pytest.approx(1.0, abs=1e-12)


def test_to_uint8_rounds_half_to_even_and_clips() -> None:
    values = np.array([-3.0, 0.49, 0.5, 1.5, 2.5, 254.5, 255.49, 1e9, np.inf, -np.inf])
    assert to_uint8(values, 255.0).tolist() == [0, 0, 0, 2, 2, 254, 255, 255, 255, 0]


@pytest.mark.parametrize("value_range", [1.0, 255.0])
def test_to_uint8_inverts_the_way_in_and_agrees_with_torch(value_range: float) -> None:
    levels = np.arange(256, dtype=np.uint8)
    there = torch.from_numpy(levels) * (value_range / 255)
    assert to_uint8(there, value_range).tolist() == levels.tolist()
    x = torch.linspace(-0.1, 1.1, 4001, dtype=torch.float64) * value_range
    expected = (x.clamp(0, value_range) * 255 / value_range).round().to(torch.uint8)
    assert to_uint8(x.numpy(), value_range).tolist() == expected.tolist()


def test_to_uint8_refuses_nan() -> None:
    with pytest.raises(ValueError, match="NaN"):
        to_uint8([0.0, math.nan], 1.0)


def test_float_psnr() -> None:
    a = torch.zeros(1, 3, 4, 5)
    assert psnr_float_db(a, a + 0.1, 1.0) == pytest.approx(20.0, abs=1e-5)
    assert psnr_float_db(a, a + 25.5, 255.0) == pytest.approx(20.0, abs=1e-5)
    assert psnr_float_db(a, a, 1.0) == math.inf
    with pytest.raises(ValueError, match="one shape"):
        psnr_float_db(a, a[0], 1.0)
    with pytest.raises(ValueError, match="one shape"):
        psnr_float_db([], [], 1.0)


def test_modcrop_keeps_the_top_left() -> None:
    hr = np.arange(10 * 15 * 3, dtype=np.uint8).reshape(10, 15, 3)
    np.testing.assert_array_equal(modcrop(hr, (2, 3), 4), hr[:8, :12])
    np.testing.assert_array_equal(modcrop(hr, (10, 15), 1), hr)


@pytest.mark.parametrize("lr_size", [(3, 3), (2, 4), (1, 3), (2, 2)])
def test_modcrop_refuses_what_is_no_pair(lr_size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"HR of 10x15 is not x4 of LR {lr_size[0]}x{lr_size[1]}"):
        modcrop(np.zeros((10, 15, 3), np.uint8), lr_size, 4)


def test_modcrop_refuses_a_whole_scale_too_much() -> None:
    modcrop(np.zeros((11, 15, 3), np.uint8), (2, 3), 4)
    for size in ((12, 15, 3), (11, 16, 3)):
        with pytest.raises(ValueError, match="is not x4 of LR 2x3"):
            modcrop(np.zeros(size, np.uint8), (2, 3), 4)


@pytest.mark.parametrize("metric", [psnr_db, psnr_y_db, ssim])
def test_other_arrays_are_refused(metric: Callable[[Image, Image, int], float]) -> None:
    a, b = noisy_pair()
    with pytest.raises(ValueError, match=r"images of one size are compared, not \(37, 52, 3\) and \(37, 51, 3\)"):
        metric(a, b[:, 1:], 0)
    with pytest.raises(ValueError, match=r"an image is uint8 \(H, W, 3\), not float32"):
        metric(a, b.astype(np.float32), 0)
    with pytest.raises(ValueError, match=r"an image is uint8 \(H, W, 3\), not uint8 \(37, 52\)"):
        metric(a[:, :, 0], b[:, :, 0], 0)
    with pytest.raises(ValueError, match=r"a crop of 19 pixels on each side leaves nothing"):
        metric(a, b, 19)
    with pytest.raises(ValueError, match=r"a crop of -1"):
        metric(a, b, -1)


def test_ssim_refuses_less_than_a_window() -> None:
    a, b = noisy_pair()
    with pytest.raises(ValueError, match=r"SSIM needs 11x11 pixels after the crop, not \(9, 24\)"):
        ssim(a, b, 14)
