"""Convolutions, dense, grouped and depthwise: the operators that hold almost all of a network's weights and work."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from edgesr.operator import Activation, Op, TensorSpec


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Op):
    """What Conv2d and DepthwiseConv2d share: weight (O, I/groups, kh, kw), bias (O,), zero padding, activation."""

    weight: Tensor
    bias: Tensor | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    activation: Activation = Activation.NONE

    def __post_init__(self) -> None:
        """Refuse weights that are no kernels, and geometry that reaches no position."""
        if self.weight.ndim != 4:
            raise self._fail(f"weight has {self.weight.ndim} axes, wanted (out, in per group, height, width)")
        if min(*self.stride, *self.dilation, self.group_count) < 1 or min(self.padding) < 0:
            raise self._fail("stride, dilation and groups must be at least 1, padding at least 0")

    @property
    @abstractmethod
    def group_count(self) -> int:
        """How many groups the channels fall into."""

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of the kernel."""
        return (self.weight.shape[2], self.weight.shape[3])

    @property
    def is_same(self) -> bool:
        """Whether every output position lies on its input position: stride 1, odd kernel, half of it padded."""
        reach = tuple(d * (k - 1) for k, d in zip(self.kernel, self.dilation, strict=True))
        return self.stride == (1, 1) and all(r == 2 * p for r, p in zip(reach, self.padding, strict=True))

    def infer(self, *inputs: TensorSpec) -> TensorSpec:
        """The output's spec: one channel per weight row, the scale divided by the stride."""
        (x,) = inputs
        if self.weight.shape[1] * self.group_count != x.channels or self.weight.shape[0] % self.group_count:
            raise self._fail(f"weight {tuple(self.weight.shape)} does not fit {x.channels} channels")
        if self.bias is not None and self.bias.shape != self.weight.shape[:1]:
            raise self._fail(f"bias {tuple(self.bias.shape)} does not fit weight {tuple(self.weight.shape)}")
        if self.stride[0] != self.stride[1]:
            raise self._fail(f"stride {self.stride} is not square; use one stride for both axes")
        if x.scale is None:
            raise self._fail("its input is a constant")
        return TensorSpec(self.name, self.weight.shape[0], x.scale / self.stride[0])

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """Cross-correlation as torch.nn.functional.conv2d, then the fused activation."""
        (x,) = inputs
        weight = self.weight.to(x)
        bias = None if self.bias is None else self.bias.to(x)
        y = F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.group_count)
        return self.activation.apply(y)

    def reads(self, axis: int, first: int, last: int) -> tuple[int, int]:
        """The positions under the kernel, whatever its weights are."""
        stride, padding, extent = self.stride[axis], self.padding[axis], self.dilation[axis] * (self.kernel[axis] - 1)
        return first * stride - padding, last * stride - padding + extent

    def macs_per_position(self) -> int:
        """One per weight."""
        return self.weight.numel()

    def parameters(self) -> dict[str, Tensor]:
        """Weight, and bias where there is one."""
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv2d(Convolution):
    """A convolution over all channels, or in `groups` (which NPUs refuse: see the fold DensifyGroupedConv)."""

    groups: int = 1

    @property
    def group_count(self) -> int:
        """How many groups the channels fall into."""
        return self.groups


@dataclass(frozen=True, eq=False, kw_only=True)
class DepthwiseConv2d(Convolution):
    """One filter, or `multiplier` filters, for each input channel; weight (C*multiplier, 1, kh, kw)."""

    channels: int

    @property
    def group_count(self) -> int:
        """One group for each input channel."""
        return self.channels

    @property
    def multiplier(self) -> int:
        """Output channels for each input channel."""
        return self.weight.shape[0] // self.channels

    def infer(self, *inputs: TensorSpec) -> TensorSpec:
        """The output's spec, when every filter sees one channel."""
        if self.weight.shape[1] != 1:
            raise self._fail(f"weight {tuple(self.weight.shape)} sees several channels at once; use Conv2d with groups")
        return super().infer(*inputs)
