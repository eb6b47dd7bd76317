"""Operators that make an image larger or smaller without weights of their own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from edgesr.operator import Op, TensorSpec


@dataclass(frozen=True, eq=False, kw_only=True)
class ResizeNearest(Op):
    """Every position repeated factor x factor times."""

    factor: int

    def __post_init__(self) -> None:
        """Refuse to repeat nothing."""
        if self.factor < 1:
            raise self._fail(f"factor {self.factor} is not positive")

    def infer(self, *inputs: TensorSpec) -> TensorSpec:
        """`factor` times the scale."""
        (x,) = inputs
        if x.scale is None:
            raise self._fail("its input is a constant")
        return TensorSpec(self.name, x.channels, x.scale * self.factor)

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """As torch.nn.functional.interpolate in mode nearest."""
        return F.interpolate(inputs[0], scale_factor=float(self.factor), mode="nearest")

    def reads(self, axis: int, first: int, last: int) -> tuple[int, int]:
        """The positions that they repeat."""
        return first // self.factor, last // self.factor


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool(Op):
    """The largest value of each window x window positions, windows side by side."""

    window: int

    def __post_init__(self) -> None:
        """Refuse empty windows."""
        if self.window < 1:
            raise self._fail(f"window {self.window} is not positive")

    def infer(self, *inputs: TensorSpec) -> TensorSpec:
        """The scale over the window."""
        (x,) = inputs
        if x.scale is None:
            raise self._fail("its input is a constant")
        return TensorSpec(self.name, x.channels, x.scale / self.window)

    def evaluate(self, *inputs: Tensor) -> Tensor:
        """As torch.nn.functional.max_pool2d; sizes must be multiples of the window."""
        height, width = inputs[0].shape[2:]
        if height % self.window or width % self.window:
            raise ValueError(f"MaxPool '{self.name}': {height}x{width} is no multiple of {self.window}")
        return F.max_pool2d(inputs[0], self.window)

    def reads(self, axis: int, first: int, last: int) -> tuple[int, int]:
        """The positions of their windows."""
        return first * self.window, last * self.window + self.window - 1
