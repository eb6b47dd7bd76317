"""SPANV2's weights as the kernels read them: taps first, inputs before outputs, padded with zeros, rounded once.

A 3x3 weight (O, I, 3, 3) becomes (9, I, O); for the patches of the first convolution (I * 9, O). Feature channels are
padded to `channels`, the near branch's to `near_padded`: products with zeros add nothing, and a zero feature stays zero
through ReLU and gate. What CUDA cores read (biases, depthwise weights) is float32, rounded to the stored type before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgesr.runtime.cuda.spanv2_layers import GatedLayers, SpanV2Layers
from edgesr.runtime.cuda.triton_kernel import power_of_two


@dataclass(frozen=True, eq=False)
class PackedGate:
    """A gated block: three weights (9, C, C), the gate's (C, C) and its bias (C,)."""

    convolutions: tuple[Tensor, Tensor, Tensor]
    gate_weight: Tensor
    gate_bias: Tensor


@dataclass(frozen=True, eq=False)
class PackedWeights:
    """The whole network; `first` and `near` read patches, `plain` are block 1's last two convolutions."""

    channels: int
    near_padded: int
    patch: int
    first: Tensor
    near: Tensor
    plain: tuple[Tensor, Tensor]
    gated: tuple[PackedGate, ...]
    depth_features: Tensor
    depth_near: Tensor
    point_features: Tensor
    point_near: Tensor

    def moved(self, move: Callable[[Tensor], Tensor]) -> PackedWeights:
        """The same with every tensor passed through `move`."""
        gated = tuple(
            PackedGate(_triple(move, g.convolutions), move(g.gate_weight), move(g.gate_bias)) for g in self.gated
        )
        return PackedWeights(
            self.channels, self.near_padded, self.patch, move(self.first), move(self.near),
            (move(self.plain[0]), move(self.plain[1])), gated, move(self.depth_features), move(self.depth_near),
            move(self.point_features), move(self.point_near),
        )  # fmt: skip

    @classmethod
    def from_layers(cls, layers: SpanV2Layers, stored: torch.dtype) -> PackedWeights:
        """The weights of a network, to be stored in that type."""
        c, m = power_of_two(layers.channels), power_of_two(layers.near_channels)
        k, near = power_of_two(9 * layers.inputs), layers.near_channels
        depth = layers.depthwise.flatten(1).t().to(stored).float()
        point = layers.pointwise.flatten(1).t()
        return cls(
            channels=c, near_padded=m, patch=k,
            first=padded(layers.plain[0].flatten(1).t(), k, c).to(stored),
            near=padded(layers.near.flatten(1).t(), k, m).to(stored),
            plain=(taps(layers.plain[1], c).to(stored), taps(layers.plain[2], c).to(stored)),
            gated=tuple(_packed_gate(block, c, stored) for block in layers.gated),
            depth_features=padded(depth[:, near:], 9, c), depth_near=padded(depth[:, :near], 9, m),
            point_features=padded(point[near:], c, m).to(stored), point_near=padded(point[:near], m, m).to(stored),
        )  # fmt: skip


def padded(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """The matrix in the corner of a larger one of zeros."""
    larger = matrix.new_zeros(rows, columns)
    larger[: matrix.shape[0], : matrix.shape[1]] = matrix
    return larger


def taps(weight: Tensor, channels: int) -> Tensor:
    """A 3x3 weight (O, I, 3, 3) as (9, channels, channels), inputs before outputs."""
    by_tap = weight.permute(2, 3, 1, 0).flatten(0, 1)
    return torch.stack([padded(tap, channels, channels) for tap in by_tap])


def _packed_gate(block: GatedLayers, channels: int, stored: torch.dtype) -> PackedGate:
    convolutions = _triple(lambda w: taps(w, channels).to(stored), (block.c1, block.c2, block.c3))
    weight = padded(block.gate_weight.flatten(1).t(), channels, channels).to(stored)
    bias = padded(block.gate_bias[None], 1, channels)[0].to(stored).float()
    return PackedGate(convolutions, weight, bias)


def _triple(
    change: Callable[[Tensor], Tensor], tensors: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    first, second, third = (change(tensor) for tensor in tensors)
    return first, second, third
