"""What every operator of the graph is: its tensors, its fused activation, and the base that the vocabulary shares.

An operator has one output, named like the operator itself. It says how many channels and which scale it makes from its
inputs (`infer`), computes itself in torch on (N, C, H, W) tensors (`evaluate`, differentiable), and counts its
multiply-accumulates for one output position (`macs_per_position`). Parameters are float64 tensors, so that folding
rounds nothing; they are cast to the dtype of the data when evaluated.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

import torch.nn.functional as F
from torch import Tensor

from edgesr.errors import ExportError


@dataclass(frozen=True)
class TensorSpec:
    """A tensor without its size: its channels, and its height and width relative to the input image's.

    `scale` is None for constants, which broadcast over every position.
    """

    name: str
    channels: int
    scale: Fraction | None = Fraction(1)


class Activation(enum.Enum):
    """What a convolution or an elementwise operator applies to its result before it is stored."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"

    def apply(self, x: Tensor) -> Tensor:
        """The activation of `x`."""
        if self is Activation.RELU:
            return F.relu(x)
        return F.relu6(x) if self is Activation.RELU6 else x


@dataclass(frozen=True, eq=False, kw_only=True)
class Op(ABC):
    """One operator; `inputs` name the graph's input or other operators."""

    name: str
    inputs: tuple[str, ...]

    @abstractmethod
    def infer(self, *inputs: TensorSpec) -> TensorSpec:
        """The output's spec; raises `ExportError` when the inputs do not fit this operator."""

    @abstractmethod
    def evaluate(self, *inputs: Tensor) -> Tensor:
        """The output for inputs of shape (N, C, H, W)."""

    def reads(self, axis: int, first: int, last: int) -> tuple[int, int] | None:
        """The first and last position that output positions first..last read of every input, rows (axis 0) or columns.

        Positions outside of the tensor count: zero padding stands for them. None says that an output reads every
        position, and is what an operator that says nothing is taken for.
        """
        return None

    def macs_per_position(self) -> int:
        """Multiply-accumulates for one output position (all of its channels)."""
        return 0

    def parameters(self) -> dict[str, Tensor]:
        """Trainable tensors by field name."""
        return {}

    def with_parameters(self, parameters: Mapping[str, Tensor]) -> Self:
        """The operator with some of its tensors exchanged."""
        return replace(self, **parameters)  # type: ignore[arg-type]  # field names are checked by replace

    def with_inputs(self, renamed: Mapping[str, str]) -> Self:
        """The operator reading `renamed[x]` wherever it read `x`."""
        return replace(self, inputs=tuple(renamed.get(x, x) for x in self.inputs))

    def _fail(self, why: str) -> ExportError:
        return ExportError(f"{type(self).__name__} '{self.name}': {why}")
