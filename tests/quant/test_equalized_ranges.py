"""Equalization makes the channels of a tensor more alike."""

import numpy as np
import torch

from edgesr.graph import Graph
from edgesr.quant.calibration import TensorStatistics, calibrate
from edgesr.quant.equalization import equalize

Images = tuple[np.ndarray, ...]


def spread(statistics: TensorStatistics) -> float:
    """Standard deviation of the log ranges of a tensor's channels."""
    return torch.maximum(-statistics.lowest, statistics.highest).log().std().item()


def test_ranges_become_more_equal(small_spanv2: Graph, photographs: Images) -> None:
    before = calibrate(small_spanv2, photographs[:3])
    _, half = equalize(small_spanv2, before, 0.5)
    _, whole = equalize(small_spanv2, before, 1.0)
    lonely = ["block_1.c1.conv", "block_1.c2.conv", "block_2.c1.conv", "block_2.c2.conv", "block_2.mul"]
    for name in lonely:  # tied to no other tensor, so that each may have its way
        assert spread(before[name]) > 0.1
        # extremes against the quantile that scales are chosen by: equal up to the tail between the two
        assert spread(half[name]) < 0.7 * spread(before[name])
        assert spread(whole[name]) < 0.4 * spread(before[name])
    free = [name for name in small_spanv2.specs if not torch.equal(half[name].samples, before[name].samples)]
    assert sum(spread(half[name]) for name in free) < sum(spread(before[name]) for name in free)
