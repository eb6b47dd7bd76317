"""Hard images: in turn of three kinds, the same for the same seed, from inputs of any size."""

import numpy as np
import pytest

from edgesr.degradation import downsample
from edgesr.quant.learning.hard_images import REDUCTIONS, hard_images

Images = tuple[np.ndarray, ...]


def made(inputs: Images, count: int = 12, side: int = 32, seed: int = 0, scale: int = 1) -> list[np.ndarray]:
    return [pair.lr for pair in hard_images(inputs, count, side, scale, np.random.default_rng(seed))]


def test_they_are_as_many_and_as_large_as_asked_for(photographs: Images) -> None:
    for count, side in ((0, 32), (1, 32), (7, 20), (3, 64), (3, 1)):
        found = made(photographs, count, side)
        assert [image.shape for image in found] == [(side, side, 3)] * count
        assert all(image.dtype == np.uint8 for image in found)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_truth_is_what_they_were_reduced_from(scale: int, photographs: Images) -> None:
    for pair in hard_images(photographs, 6, 24, scale, np.random.default_rng(0)):
        assert pair.hr.shape == (24 * scale, 24 * scale, 3) and pair.hr.dtype == np.uint8
        assert np.array_equal(pair.lr, downsample(pair.hr, scale))


def test_what_is_drawn_is_as_fine_for_the_input_whatever_the_scale(photographs: Images) -> None:
    """So that text which is hard at x2 is as hard at x4."""
    first, second = (made(photographs, 60, 32, scale=scale)[2::3] for scale in (2, 4))
    detail = [np.mean([np.abs(np.diff(image.astype(float), axis=1)).mean() for image in x]) for x in (first, second)]
    assert detail[0] == pytest.approx(detail[1], rel=0.3)


def test_grey_photographs_make_grey_ones_of_every_kind(photographs: Images) -> None:
    found = made(tuple(image[:, :, :1] for image in photographs))
    assert [image.shape for image in found] == [(32, 32, 1)] * 12


def test_the_same_seed_gives_the_same_bytes(photographs: Images) -> None:
    first, again, other = (made(photographs, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_stretched_ones_saturate_and_drawn_ones_are_flat(photographs: Images) -> None:
    found = made(photographs, 60, 64)
    saturated = [float(np.mean((image == 0) | (image == 255))) for image in found]
    plain = float(np.mean([np.mean((image == 0) | (image == 255)) for image in photographs]))
    assert np.mean(saturated[1::3]) > plain + 0.1
    flat = [float(np.mean(image[1:] == image[:-1])) for image in found]
    assert np.mean(flat[2::3]) > 0.7 > np.mean(flat[0::3]) + 0.3


def test_reduced_ones_are_reduced_by_the_factors_that_are_said() -> None:
    """Stripes 8 pixels wide come out narrower, whatever their contrast."""
    stripes = np.where(np.arange(120) // 8 % 2, 150, 90).astype(np.uint8)
    inputs = (np.broadcast_to(stripes[None, :, None], (120, 120, 3)).copy(),)
    widths = []
    for image in made(inputs, 90, 60)[0::3]:
        row = image[30].astype(float).mean(-1)
        edges = np.flatnonzero(np.diff(row > (row.min() + row.max()) / 2))
        widths.append(np.diff(edges).mean())
    expected = [8 / factor for factor in REDUCTIONS]
    nearest = [min(expected, key=lambda width: abs(width - found)) for found in widths]
    assert np.abs(np.subtract(widths, nearest)).max() < 0.3 and set(nearest) == set(expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 2), (5, 7)])
def test_inputs_may_be_smaller_than_what_is_made(shape: tuple[int, int]) -> None:
    inputs = (np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8),)
    assert {image.shape for image in made(inputs)} == {(32, 32, 3)}


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_inputs_give_images_too(level: int) -> None:
    found = made((np.full((40, 40, 3), level, np.uint8),), 30)
    assert any(image.std() > 20 for image in found), "what is drawn does not depend on the inputs"


def test_the_inputs_stay_as_they_are(photographs: Images) -> None:
    before = [image.copy() for image in photographs]
    made(photographs)
    assert all(np.array_equal(a, b) for a, b in zip(before, photographs, strict=True))
