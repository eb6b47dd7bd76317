"""SPANV2's weights out of a folded graph: the fused network runs what export wrote, no second reading of weights.

The graph is walked from its output to its input, and every operator must be the one that SPANV2 has there, in the form
that the exact folds leave (ReLU fused into its convolution, the near branch dense). Any other graph raises
`UnsupportedOpError`, which names the first operator that does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from edgesr.errors import UnsupportedOpError
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Concat, Conv2d, DepthToSpace, DepthwiseConv2d, Mul, Op, ShuffleOrder

Kind = TypeVar("Kind", bound=Op)
MOST_CHANNELS, MOST_NEAR = 32, 64
"""Features, and channels of the near branch, that the kernels keep in registers; the released SPANV2 has 32 and 48."""


@dataclass(frozen=True, eq=False)
class GatedLayers:
    """Block k: f = c3 relu(c2 relu(c1 y)), y = (y + f) * (gate_weight f + gate_bias); 3x3 weights (O, I, 3, 3)."""

    c1: Tensor
    c2: Tensor
    c3: Tensor
    gate_weight: Tensor
    gate_bias: Tensor


@dataclass(frozen=True, eq=False)
class SpanV2Layers:
    """All weights in float64; the pointwise rows stand in PixelShuffle's order, whatever the graph's was."""

    name: str
    scale: int
    near: Tensor
    plain: tuple[Tensor, Tensor, Tensor]
    gated: tuple[GatedLayers, ...]
    depthwise: Tensor
    pointwise: Tensor

    @property
    def inputs(self) -> int:
        """Channels of the image."""
        return int(self.near.shape[1])

    @property
    def channels(self) -> int:
        """Channels of the features."""
        return int(self.plain[0].shape[0])

    @property
    def near_channels(self) -> int:
        """Channels of the near branch, inputs * scale^2."""
        return int(self.near.shape[0])

    @classmethod
    def from_graph(cls, graph: Graph) -> SpanV2Layers:
        """The layers of a folded graph; raises `UnsupportedOpError` where it is no SPANV2."""
        walk = _Walk(graph)
        shuffle = walk.expect(graph.output, DepthToSpace, "the pixel shuffle")
        pointwise = walk.convolution(shuffle.inputs[0], 1, Activation.NONE, "the head's pointwise convolution")
        depthwise = walk.expect(pointwise.inputs[0], DepthwiseConv2d, "the head's depthwise convolution")
        walk.require(depthwise.kernel == (3, 3) and depthwise.is_same and depthwise.multiplier == 1
                     and depthwise.bias is None, depthwise, "a 3x3 depthwise convolution without bias")  # fmt: skip
        joined = walk.expect(depthwise.inputs[0], Concat, "the concatenation of near branch and features")
        walk.require(len(joined.inputs) == 2, joined, "a concatenation of two")
        near = walk.convolution(joined.inputs[0], 3, Activation.NONE, "the near branch")
        gated, first = walk.gated_blocks(joined.inputs[1])
        plain, image = walk.chain(first, Activation.RELU)
        for name in (near.inputs[0], image):
            if name != graph.input.name:
                raise walk.refusal(f"'{name}' stands where the image is expected")
        layers = cls(graph.name, shuffle.block, near.weight, plain, gated, depthwise.weight, _crd(pointwise, shuffle))
        for what, found, most in (
            ("feature", layers.channels, MOST_CHANNELS), ("near-branch", layers.near_channels, MOST_NEAR),
        ):  # fmt: skip
            if found > most:
                raise walk.refusal(f"it has {found} {what} channels, the kernels take {most}")
        return layers


def _crd(pointwise: Conv2d, shuffle: DepthToSpace) -> Tensor:
    """The pointwise rows in PixelShuffle's order (colour, i, j)."""
    weight = pointwise.weight
    if shuffle.order is ShuffleOrder.CRD:
        return weight
    return torch.unflatten(weight, 0, (shuffle.block**2, -1)).transpose(0, 1).flatten(0, 1)


class _Walk:
    """Looks up operators of a graph by what they should be."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def refusal(self, why: str) -> UnsupportedOpError:
        return UnsupportedOpError(f"{self._graph.name}: {why}; cuda-fused runs SPANV2 alone, use torch-cuda")

    def require(self, holds: bool, op: Op, wanted: str) -> None:
        if not holds:
            raise self.refusal(f"'{op.name}' is not {wanted}")

    def expect(self, name: str, kind: type[Kind], role: str) -> Kind:
        op = self._graph.producer(name)
        if not isinstance(op, kind):
            found = "the image" if op is None else type(op).__name__
            raise self.refusal(f"'{name}' is {found}, where {role} ({kind.__name__}) is expected")
        return op

    def convolution(self, name: str, size: int, activation: Activation, role: str) -> Conv2d:
        op = self.expect(name, Conv2d, role)
        fits = op.kernel == (size, size) and op.is_same and op.dilation == (1, 1) and op.groups == 1
        self.require(fits and op.activation is activation, op, f"{role} ({size}x{size}, {activation.value} after it)")
        self.require(op.bias is None, op, f"{role}, which has no bias")
        return op

    def chain(self, name: str, last: Activation) -> tuple[tuple[Tensor, Tensor, Tensor], str]:
        """The weights c1, c2, c3 of three 3x3 convolutions that end in `name`, and what they read."""
        c3 = self.convolution(name, 3, last, "a block's c3")
        c2 = self.convolution(c3.inputs[0], 3, Activation.RELU, "a block's c2")
        c1 = self.convolution(c2.inputs[0], 3, Activation.RELU, "a block's c1")
        return (c1.weight, c2.weight, c3.weight), c1.inputs[0]

    def gated_blocks(self, name: str) -> tuple[tuple[GatedLayers, ...], str]:
        """The gated blocks that end in `name`, the first block first, and what the first one reads."""
        blocks: list[GatedLayers] = []
        while isinstance(self._graph.producer(name), Mul):
            block, name = self._gated_block(name)
            blocks.insert(0, block)
        if not blocks:
            self.expect(name, Mul, "the last block's gate")
        return tuple(blocks), name

    def _gated_block(self, name: str) -> tuple[GatedLayers, str]:
        product = self.expect(name, Mul, "a gate")
        total, gate = (self._graph.producer(x) for x in product.inputs)
        if isinstance(gate, Add):
            total, gate = gate, total
        self.require(isinstance(total, Add) and isinstance(gate, Conv2d) and len(set(product.inputs)) == 2,
                     product, "a gate: a sum times a 1x1 convolution")  # fmt: skip
        assert isinstance(total, Add) and isinstance(gate, Conv2d)
        self.require(gate.kernel == (1, 1) and gate.is_same and gate.bias is not None and gate.groups == 1
                     and gate.activation is total.activation is product.activation is Activation.NONE,
                     gate, "a gate's 1x1 convolution with bias and no activation")  # fmt: skip
        f = gate.inputs[0]
        others = [x for x in total.inputs if x != f]
        self.require(len(others) == 1, total, "the sum of a block's input and its features")
        weights, before = self.chain(f, Activation.NONE)
        self.require(others[0] == before, total, "the sum of a block's input and its features")
        assert gate.bias is not None
        return GatedLayers(*weights, gate.weight, gate.bias), before
