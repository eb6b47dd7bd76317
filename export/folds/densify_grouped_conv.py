"""A grouped convolution as a dense one, with zeros between the groups.

    W_dense[o, i] = W[o, i - g*I] where g = o // (O/groups) and g*I <= i < (g+1)*I, else 0     (I = channels per group)

Exact: every product that is added is zero. NPU compilers refuse group counts other than 1 and "one filter per channel",
and several refuse depthwise convolutions with more than one filter per channel (SPANV2's near-pixel branch, 3 -> 48).
A depthwise convolution with one filter per channel is native everywhere and stays.
"""

from __future__ import annotations

import torch

from edgesr.export.folds.fold import Fold
from edgesr.graph import Graph
from edgesr.ops import Conv2d, Convolution, DepthwiseConv2d, Op

MAX_CHANNELS = 64
"""Beyond this many input channels, zeros would cost more than any NPU gains."""


class DensifyGroupedConv(Fold):
    """Grouped convolutions, and depthwise ones with several filters per channel, to dense convolutions."""

    name = "densify-grouped-conv"

    def considers(self, op: Op) -> bool:
        """Convolutions of more than one group, and depthwise ones even of one channel."""
        return isinstance(op, DepthwiseConv2d) or (isinstance(op, Convolution) and op.group_count > 1)

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """A plain depthwise convolution is native; a wide one would grow too much."""
        assert isinstance(op, Convolution)
        if isinstance(op, DepthwiseConv2d) and op.multiplier == 1:
            return "one filter per channel is native on every NPU"
        channels = graph.specs[op.inputs[0]].channels
        if channels > MAX_CHANNELS:
            return f"{channels} input channels, the dense form would hold {op.group_count} times the weights"
        return None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """Write each group's weights into its block of a dense weight."""
        assert isinstance(op, Convolution)
        dense = Conv2d(
            name=op.name, inputs=op.inputs, weight=dense_weight(op), bias=op.bias,
            stride=op.stride, padding=op.padding, dilation=op.dilation, activation=op.activation,
        )  # fmt: skip
        return graph.rewritten({op.name: (dense,)})


def dense_weight(op: Convolution) -> torch.Tensor:
    """The weight (O, I, kh, kw) of the one-group convolution that computes the same."""
    out, per_group = op.weight.shape[:2]
    dense = op.weight.new_zeros(out, per_group * op.group_count, *op.kernel)
    rows = out // op.group_count
    for g in range(op.group_count):
        block = slice(g * rows, (g + 1) * rows)
        dense[block, g * per_group : (g + 1) * per_group] = op.weight[block]
    return dense
