"""PixelShuffle in the channel order of TFLite's DEPTH_TO_SPACE, by permuting rows of the convolutions before it.

PyTorch's PixelShuffle with block r reads output channel c at offset (i, j) from input channel c*r*r + i*r + j (CRD),
TFLite and ONNX's default from (i*r + j)*C + c (DCR). With pi[(i*r + j)*C + c] = c*r*r + i*r + j,

    CRD(y) = DCR(y[pi]),      (W x + b)[pi] = W[pi] x + b[pi]

Exact: a renaming of channels. The permutation moves through elementwise operators to every convolution above; where
something else stands there, or is read by others, a 1x1 convolution with the permutation matrix is put in. Converters
that do not do this leave a tail of RESHAPE and TRANSPOSE which moves every pixel several times and fixes the size.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from edgesr.export.folds.fold import Fold
from edgesr.graph import Graph
from edgesr.ops import Binary, Constant, Conv2d, Convolution, DepthToSpace, DepthwiseConv2d, Op, ShuffleOrder, Unary


class PixelShuffleToDepthToSpace(Fold):
    """DepthToSpace of order CRD to order DCR."""

    name = "pixel-shuffle-to-depth-to-space"

    def considers(self, op: Op) -> bool:
        """DepthToSpace."""
        return isinstance(op, DepthToSpace)

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """It already has the native order."""
        assert isinstance(op, DepthToSpace)
        return "already in the order of DEPTH_TO_SPACE" if op.order is ShuffleOrder.DCR else None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """Permute the channels of what it reads and switch the order."""
        assert isinstance(op, DepthToSpace)
        source, permutation = op.inputs[0], native_order(graph.specs[op.inputs[0]].channels, op.block)
        native = replace(op, order=ShuffleOrder.DCR)
        changes = permuted_producers(graph, source, permutation)
        if changes is None:
            shuffle = permutation_conv(f"{op.name}.order", source, permutation)
            return graph.rewritten({op.name: (shuffle, replace(native, inputs=(shuffle.name,)))})
        return graph.rewritten({name: (new,) for name, new in changes.items()} | {op.name: (native,)})


def native_order(channels: int, block: int) -> torch.Tensor:
    """For each channel in DCR order its channel in CRD order, shape (channels,)."""
    return torch.arange(channels).reshape(-1, block * block).T.flatten()


def permuted_producers(graph: Graph, name: str, permutation: torch.Tensor) -> dict[str, Op] | None:
    """Operators to exchange so that `name` comes out permuted; None where the permutation cannot be absorbed."""
    op = graph.producer(name)
    if graph.sole_consumer(name) is None:
        return None
    if isinstance(op, Constant):
        return {name: replace(op, value=op.value[permutation])}
    if isinstance(op, (Conv2d, DepthwiseConv2d)):
        return None if op.group_count != 1 else {name: permuted_rows(op, permutation)}
    if not isinstance(op, (Binary, Unary)):
        return None
    changes: dict[str, Op] = {}
    for source in op.inputs:
        if graph.specs[source].channels == 1:
            continue
        above = permuted_producers(graph, source, permutation)
        if above is None:
            return None
        changes |= above
    return changes


def permuted_rows(op: Convolution, permutation: torch.Tensor) -> Convolution:
    """The convolution with its output channels in another order."""
    return replace(op, weight=op.weight[permutation], bias=None if op.bias is None else op.bias[permutation])


def permutation_conv(name: str, source: str, permutation: torch.Tensor) -> Conv2d:
    """A 1x1 convolution that reorders channels: output channel k is input channel permutation[k]."""
    matrix = torch.eye(len(permutation), dtype=torch.float64)[permutation]
    return Conv2d(name=name, inputs=(source,), weight=matrix[:, :, None, None])
