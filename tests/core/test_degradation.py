import os
from pathlib import Path

import numpy as np
import pytest

from edgesr.degradation import crop_to_multiple, downsample, resized
from edgesr.images import load_rgb, pair_folders

SET5 = Path(os.environ.get("EDGESR_SHARED", Path(__file__).parents[3] / "shared")) / "images" / "set5"


def test_a_flat_picture_stays_flat() -> None:
    small = downsample(np.full((16, 24, 3), 77, np.uint8), 4)
    assert small.shape == (4, 6, 3) and small.dtype == np.uint8 and (small == 77).all()


def test_grey_pictures_are_reduced_like_each_channel_of_a_colour_one() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    channels = [downsample(colour[:, :, c : c + 1], 4) for c in range(3)]
    assert np.array_equal(np.concatenate(channels, axis=2), downsample(colour, 4))
    assert resized(colour[:, :, :1], (7, 5)).shape == (7, 5, 1)


def test_sizes_that_do_not_divide_are_refused_and_cropped() -> None:
    image = np.zeros((17, 23, 3), np.uint8)
    with pytest.raises(ValueError, match="17x23 is not a multiple of 4"):
        downsample(image, 4)
    assert crop_to_multiple(image, 4).shape == (16, 20, 3)


def test_it_agrees_with_the_published_lr_images() -> None:
    """The numbers of the module's docstring."""
    if not (SET5 / "LR").is_dir():
        pytest.skip(f"{SET5} is missing; set EDGESR_SHARED to the folder that holds images/set5")
    whole, inside = [], []
    for lr_path, hr_path in pair_folders(SET5 / "LR", SET5 / "HR"):
        difference = np.abs(downsample(load_rgb(hr_path), 4).astype(int) - load_rgb(lr_path))
        whole.append(difference.ravel())
        inside.append(difference[2:-2, 2:-2].ravel())
    assert np.concatenate(whole).max() <= 9
    assert np.concatenate(inside).max() <= 2
    assert np.concatenate(inside).mean() < 0.16
    assert (np.concatenate(inside) > 1).mean() < 1e-4
