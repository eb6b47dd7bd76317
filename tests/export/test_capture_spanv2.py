"""What capture makes of SPANV2: its operators, their names and their counts."""

import pytest
import torch

from edgesr.graph import Graph

BLOCK = ["Conv2d", "Relu", "Conv2d", "Relu", "Conv2d"]
PLAIN, GATED = [*BLOCK, "Relu"], [*BLOCK, "Add", "Conv2d", "Mul"]
TAIL = ["Concat", "DepthwiseConv2d", "Conv2d", "DepthToSpace"]


@pytest.mark.parametrize(("which", "gated"), [("small", 2), ("official", 4)])
def test_spanv2_operators(which: str, gated: int, request: pytest.FixtureRequest) -> None:
    graph: Graph = request.getfixturevalue(f"{which}_spanv2")
    assert [type(op).__name__ for op in graph] == ["DepthwiseConv2d", *PLAIN, *GATED * gated, *TAIL]
    assert graph.input.channels == 3
    assert graph.specs[graph.output].channels == 3


def test_spanv2_names_and_counts(official_spanv2: Graph) -> None:
    names = [op.name for op in official_spanv2]
    assert names[:3] == ["conv_near", "block_1.c1.conv", "block_1.relu"]
    assert names[-5:] == ["block_5.mul", "cat", "depthwise_conv", "pointwise_conv", "pixel_shuffle"]
    assert official_spanv2.scale == 4
    assert official_spanv2.macs_per_input_pixel() == 138_976
    assert official_spanv2.parameter_count() == 139_104
    assert all(value.dtype == torch.float64 for value in official_spanv2.parameters().values())
