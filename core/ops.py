"""The operator vocabulary: what every mobile NPU runs natively, each operator declared once (see `operator`)."""

from __future__ import annotations

import enum
from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesr.convolution import Conv2d, Convolution, DepthwiseConv2d
from edgesr.operator import Activation, Op, TensorSpec
from edgesr.resampling import MaxPool, ResizeNearest

__all__ = [
    "VOCABULARY",
    "Activation",
    "Add",
    "Binary",
    "Clip",
    "Concat",
    "Constant",
    "Conv2d",
    "Convolution",
    "DepthToSpace",
    "DepthwiseConv2d",
    "HardSwish",
    "LeakyRelu",
    "MaxPool",
    "Mul",
    "Op",
    "Relu",
    "Relu6",
    "Requantize",
    "ResizeNearest",
    "ShuffleOrder",
    "Sigmoid",
    "Slice",
    "Sub",
    "Tanh",
    "TensorSpec",
    "Unary",
]


class ShuffleOrder(enum.Enum):
    """Which input channel feeds which sub-pixel of DepthToSpace, for block r and output channel c at offset (i, j).

    CRD is PyTorch's PixelShuffle: channel c*r*r + i*r + j. DCR is TFLite's DEPTH_TO_SPACE: channel (i*r + j)*C + c.
    """

    CRD = "crd"
    DCR = "dcr"


@dataclass(frozen=True, eq=False, kw_only=True)
class Binary(Op):
    """Elementwise on two tensors of one shape, or of a tensor and a constant; then a fused activation."""

    activation: Activation = Activation.NONE

    def infer(self, *inputs: TensorSpec) -> TensorSpec:
        """The common spec; constants and single channels broadcast."""
        a, b = inputs
        scales = {x.scale for x in inputs if x.scale is not None}
        if not scales:
            raise self._fail(f"inputs '{a.name}' and '{b.name}' are both constants")
        if len(scales) != 1:
            raise self._fail(f"inputs '{a.name}' and '{b.name}' differ in size ({a.scale} and {b.scale} of the input)")
        if a.channels != b.channels and 1 not in (a.channels, b.channels):
            raise self._fail(f"inputs '{a.name}' and '{b.name}' have {a.channels} and {b.channels} channels")
        return TensorSpec(self.name, max(a.channels, b.channels), scales.pop())

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """The operator's arithmetic, then the fused activation."""
        a, b = inputs
        return self.activation.apply(self.combine(a, b))

    def reads(self, axis: int, first: int, last: int) -> tuple[int, int]:
        """The same positions."""
        return first, last

    @staticmethod
    @abstractmethod
    def combine(a: Tensor, b: Tensor) -> Tensor:
        """The arithmetic of two tensors."""


class Add(Binary):
    """a + b."""

    @staticmethod
    def combine(a: Tensor, b: Tensor) -> Tensor:
        """The sum."""
        return a + b


class Sub(Binary):
    """a - b."""

    @staticmethod
    def combine(a: Tensor, b: Tensor) -> Tensor:
        """The difference."""
        return a - b


class Mul(Binary):
    """a * b."""

    @staticmethod
    def combine(a: Tensor, b: Tensor) -> Tensor:
        """The product."""
        return a * b


class Concat(Op):
    """Tensors of one size joined along their channels."""

    def infer(self, *inputs: TensorSpec) -> TensorSpec:
        """The sum of the channels."""
        if len({x.scale for x in inputs}) != 1:
            raise self._fail("inputs differ in size: " + ", ".join(f"'{x.name}' {x.scale}" for x in inputs))
        return TensorSpec(self.name, sum(x.channels for x in inputs), inputs[0].scale)

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """torch.cat along channels."""
        return torch.cat(inputs, dim=1)

    def reads(self, axis: int, first: int, last: int) -> tuple[int, int]:
        """The same positions."""
        return first, last


@dataclass(frozen=True, eq=False, kw_only=True)
class Constant(Op):
    """One value for each channel (or one for all), the same at every position; has no inputs."""

    value: Tensor

    def infer(self, *inputs: TensorSpec) -> TensorSpec:
        """As many channels as values."""
        if self.value.ndim != 1:
            raise self._fail(f"value has shape {tuple(self.value.shape)}, wanted one value per channel")
        return TensorSpec(self.name, self.value.shape[0], None)

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """The values as (1, C, 1, 1)."""
        return self.value.reshape(1, -1, 1, 1)

    def parameters(self) -> dict[str, Tensor]:
        """The value."""
        return {"value": self.value}


class Unary(Op):
    """A function of each element alone."""

    def infer(self, *inputs: TensorSpec) -> TensorSpec:
        """The input's spec."""
        (x,) = inputs
        return TensorSpec(self.name, x.channels, x.scale)

    def reads(self, axis: int, first: int, last: int) -> tuple[int, int]:
        """The same positions."""
        return first, last


class Relu(Unary):
    """max(x, 0)."""

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """max(x, 0)."""
        return F.relu(inputs[0])


class Relu6(Unary):
    """min(max(x, 0), 6)."""

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """min(max(x, 0), 6)."""
        return F.relu6(inputs[0])


@dataclass(frozen=True, eq=False, kw_only=True)
class LeakyRelu(Unary):
    """X where positive, slope * x elsewhere."""

    slope: float

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """X where positive, slope * x elsewhere."""
        return F.leaky_relu(inputs[0], self.slope)


class Sigmoid(Unary):
    """1 / (1 + exp(-x))."""

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """1 / (1 + exp(-x))."""
        return torch.sigmoid(inputs[0])


class Tanh(Unary):
    """The hyperbolic tangent."""

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """The hyperbolic tangent."""
        return torch.tanh(inputs[0])


class HardSwish(Unary):
    """X * relu6(x + 3) / 6."""

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """X * relu6(x + 3) / 6."""
        return F.hardswish(inputs[0])


@dataclass(frozen=True, eq=False, kw_only=True)
class Clip(Unary):
    """min(max(x, low), high)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse bounds that hold no value."""
        if not self.low <= self.high:
            raise self._fail(f"its bounds {self.low:g}..{self.high:g} hold no value")

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """min(max(x, low), high)."""
        return inputs[0].clamp(self.low, self.high)


class Requantize(Unary):
    """The same values on another integer grid: the identity in real arithmetic, and in quantized graphs alone."""

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """The values."""
        return inputs[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class DepthToSpace(Op):
    """Channels to a block x block patch of positions, in the given order."""

    block: int
    order: ShuffleOrder = ShuffleOrder.CRD

    def __post_init__(self) -> None:
        """Refuse blocks of no positions."""
        if self.block < 1:
            raise self._fail(f"block {self.block} is not positive")

    def infer(self, *inputs: TensorSpec) -> TensorSpec:
        """block^2 times fewer channels at block times the scale."""
        (x,) = inputs
        if x.scale is None:
            raise self._fail("its input is a constant")
        if x.channels % self.block**2:
            raise self._fail(f"{x.channels} channels are no multiple of {self.block}x{self.block}")
        return TensorSpec(self.name, x.channels // self.block**2, x.scale * self.block)

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """As torch.nn.functional.pixel_shuffle; for DCR after reordering the channels."""
        (x,) = inputs
        if self.order is ShuffleOrder.DCR:
            x = torch.unflatten(x, 1, (self.block**2, -1)).transpose(1, 2).flatten(1, 2)
        return F.pixel_shuffle(x, self.block)

    def reads(self, axis: int, first: int, last: int) -> tuple[int, int]:
        """The positions whose blocks they lie in."""
        return first // self.block, last // self.block


@dataclass(frozen=True, eq=False, kw_only=True)
class Slice(Op):
    """Channels start..stop-1."""

    start: int
    stop: int

    def infer(self, *inputs: TensorSpec) -> TensorSpec:
        """The channels from start to stop alone."""
        (x,) = inputs
        if not 0 <= self.start < self.stop <= x.channels:
            raise self._fail(f"channels {self.start}:{self.stop} of {x.channels}")
        return TensorSpec(self.name, self.stop - self.start, x.scale)

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """The channels."""
        return inputs[0][:, self.start : self.stop]

    def reads(self, axis: int, first: int, last: int) -> tuple[int, int]:
        """The same positions."""
        return first, last


VOCABULARY: tuple[type[Op], ...] = (
    Conv2d,
    DepthwiseConv2d,
    Add,
    Sub,
    Mul,
    Concat,
    Constant,
    Relu,
    Relu6,
    LeakyRelu,
    Sigmoid,
    Tanh,
    HardSwish,
    Clip,
    DepthToSpace,
    ResizeNearest,
    MaxPool,
    Slice,
    Requantize,
)
