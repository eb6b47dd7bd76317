import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from edgesr.images import load_rgb, pair_folders
from edgesr.matlab_bicubic import reduce_as_matlab

IMAGES = Path(os.environ.get("EDGESR_SHARED", Path(__file__).parents[3] / "shared")) / "images"


def kernel(t: Fraction) -> Fraction:
    t = abs(t)
    if t <= 1:
        return Fraction(3, 2) * t**3 - Fraction(5, 2) * t**2 + 1
    return -Fraction(1, 2) * t**3 + Fraction(5, 2) * t**2 - 4 * t + 2 if t <= 2 else Fraction(0)


def reduced_exactly(values: list[int], scale: int) -> list[int]:
    """The formula of the module's docstring in rational numbers, over every input that it could touch."""
    outputs = []
    for i in range(len(values) // scale):
        centre = Fraction(scale * i) + Fraction(scale - 1, 2)
        reach = range(scale * (i - 4), scale * (i + 5))
        weights = {j: kernel((centre - j) / scale) for j in reach}
        total = sum(w * values[min(max(j, 0), len(values) - 1)] for j, w in weights.items()) / sum(weights.values())
        outputs.append(int(min(max(total, Fraction(0)), Fraction(255)) + Fraction(1, 2)))
    return outputs


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_columns_then_rows_follow_the_formula(scale: int) -> None:
    image = np.random.default_rng(scale).integers(0, 256, (6 * scale, 5 * scale, 2), np.uint8)
    small = reduce_as_matlab(image, scale)
    for c in range(2):
        columns = [reduced_exactly(image[:, x, c].tolist(), scale) for x in range(image.shape[1])]
        rows = [reduced_exactly([column[y] for column in columns], scale) for y in range(6)]
        assert small[:, :, c].tolist() == rows


def test_what_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="17x24 is not a multiple of 4"):
        reduce_as_matlab(np.zeros((17, 24, 3), np.uint8), 4)


@pytest.mark.parametrize(("name", "count"), [("set5", 5), ("set14", 14)])
def test_published_images_are_met_bit_for_bit(name: str, count: int) -> None:
    folder = IMAGES / name
    if not (folder / "LR").is_dir():
        pytest.skip(f"{folder} is missing; set EDGESR_SHARED to the folder that holds images/{name}")
    pairs = pair_folders(folder / "LR", folder / "HR")
    assert len(pairs) == count
    for lr_path, hr_path in pairs:
        lr, hr = load_rgb(lr_path), load_rgb(hr_path)
        assert np.array_equal(reduce_as_matlab(hr[: 4 * lr.shape[0], : 4 * lr.shape[1]], 4), lr), lr_path
