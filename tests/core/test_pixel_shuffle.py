"""The shuffle on the host against a loop and against the operator itself."""

import numpy as np
import pytest
import torch

from edgesr.errors import ArtifactError
from edgesr.ops import DepthToSpace, ShuffleOrder
from edgesr.pixel_shuffle import shuffle_pixels


@pytest.mark.parametrize("block", [1, 2, 3, 4])
def test_every_pixel_lands_where_the_formula_says(block: int) -> None:
    n, h, w, c = 2, 3, 5, 3
    x = np.random.default_rng(0).integers(0, 255, (n, h, w, block * block * c), dtype=np.uint8)
    y = shuffle_pixels(x, block)
    assert y.shape == (n, h * block, w * block, c) and y.dtype == x.dtype and y.flags.c_contiguous
    for row in range(h * block):
        for column in range(w * block):
            i, j = row % block, column % block
            first = (i * block + j) * c
            expected = x[:, row // block, column // block, first : first + c]
            assert np.array_equal(y[:, row, column], expected)


def test_it_is_depth_to_space() -> None:
    x = torch.rand(1, 12, 4, 5)
    op = DepthToSpace(name="d", inputs=("x",), block=2, order=ShuffleOrder.DCR)
    expected = op.evaluate(x).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(shuffle_pixels(x.permute(0, 2, 3, 1).numpy(), 2), expected)


@pytest.mark.parametrize("shape", [(1, 2, 2, 6), (2, 2, 12)])
def test_channels_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArtifactError, match=r"cannot be shuffled by 2x2: .*shuffle on the host\?"):
        shuffle_pixels(np.zeros(shape), 2)
