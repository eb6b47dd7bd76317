"""The truth is learned from only where the float network comes nearer to it than interpolation does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.graph import Graph
from edgesr.ops import Conv2d, DepthToSpace, ShuffleOrder
from edgesr.quant.learning.truth import undoes_reduction
from edgesr.quant.photographs import LabelledImage, labelled

Images = tuple[np.ndarray, ...]


@pytest.fixture
def enlarging(build: Any) -> Callable[[float], Graph]:
    """A x2 network that repeats each pixel, times a gain."""

    def make(gain: float) -> Graph:
        rows = torch.zeros(12, 3, 1, 1, dtype=torch.float64)
        for channel in range(3):
            rows[4 * channel : 4 * channel + 4, channel] = gain
        conv = Conv2d(name="a", inputs=("input",), weight=rows)
        graph: Graph = build.graph(conv, DepthToSpace(name="out", inputs=("a",), block=2, order=ShuffleOrder.CRD))
        return graph

    return make


def repeated(images: Images) -> list[LabelledImage]:
    """Pairs that pixel repetition answers exactly, and interpolation does not."""
    return [LabelledImage(image, image.repeat(2, 0).repeat(2, 1)) for image in images]


def test_a_network_nearer_than_interpolation_undoes_the_reduction(
    enlarging: Callable[[float], Graph], photographs: Images
) -> None:
    assert undoes_reduction(enlarging(1.0), repeated(photographs))


def test_one_that_does_something_else_does_not(enlarging: Callable[[float], Graph], photographs: Images) -> None:
    """Darker by a tenth, or blocks where the truth is a photograph."""
    assert not undoes_reduction(enlarging(0.9), repeated(photographs))
    assert not undoes_reduction(enlarging(1.0), labelled(photographs, 2))


def test_without_pairs_or_with_nothing_to_enlarge_there_is_no_truth(
    enlarging: Callable[[float], Graph], build: Any, photographs: Images
) -> None:
    assert not undoes_reduction(enlarging(1.0), [])
    same_size = build.graph(build.conv("out", "input", 3, 3))
    assert not undoes_reduction(same_size, [LabelledImage(image, image) for image in photographs])
