"""A graph with integer weights and activations, and the arithmetic that every runtime must reproduce.

Activations are affine and per tensor, weights symmetric and per output channel (the TFLite INT8 specification):

    real = scale * (q - zero_point),        bias_int32 scale = input scale * weight scale

`QuantizedGraph.execute` is the reference: each operator computed exactly on dequantized integers and rounded once,
half to even. A runtime may differ by one step per operator, where it rounds a multiplier or a half differently.

Activations have 8 bits, or in parts of a graph 16. Every operator reads and writes integers of one width, except
`Requantize`, which stands where two widths meet; the image has 8 bits at both ends. 16-bit grids are symmetric (zero
point 0): TFLite demands it, and unsigned 16-bit integers with zero point 32768 are the same grid in ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from edgesr.errors import ExportError
from edgesr.graph import Graph
from edgesr.ops import Convolution, Op, Requantize

NARROW_BITS, WIDE_BITS = 8, 16
"""The widths that activations may have."""


@dataclass(frozen=True)
class QuantParams:
    """An affine map from integers of `bits` bits, stored signed, to reals: real = scale * (q - zero_point)."""

    scale: float
    zero_point: int
    bits: int = 8

    def __post_init__(self) -> None:
        """Refuse scales that map to nothing and zero points outside the integers."""
        if not 0 < self.scale < float("inf"):
            raise ValueError(f"scale {self.scale} is not positive and finite")
        if not self.lowest <= self.zero_point <= self.highest:
            raise ValueError(f"zero point {self.zero_point} lies outside {self.lowest}..{self.highest}")

    @property
    def lowest(self) -> int:
        """The smallest integer."""
        return -(1 << (self.bits - 1))

    @property
    def highest(self) -> int:
        """The largest integer."""
        return (1 << (self.bits - 1)) - 1

    def quantize(self, x: Tensor) -> Tensor:
        """The nearest integers (half to even) within range, in the dtype of `x`."""
        return (torch.round(x / self.scale) + self.zero_point).clamp(self.lowest, self.highest)

    def dequantize(self, q: Tensor) -> Tensor:
        """The reals that integers stand for, in the dtype of `q`; float64 where that is an integer type."""
        wide = q if q.is_floating_point() else q.double()  # int8 minus its zero point would wrap around
        return (wide - self.zero_point) * self.scale

    @classmethod
    def from_range(cls, low: float, high: float, bits: int = 8) -> QuantParams:
        """The map whose integers span [low, high], widened to hold zero exactly."""
        if not -float("inf") < low <= high < float("inf"):
            raise ValueError(f"range {low}..{high} is not finite and in order")
        low, high = min(low, 0.0), max(high, 0.0)
        scale = as_stored(max((high - low) / ((1 << bits) - 1), 1e-12))
        lowest = -(1 << (bits - 1))
        return cls(scale, max(lowest, min(-lowest - 1, lowest + round(-low / scale))), bits)

    @classmethod
    def symmetric(cls, reach: float, bits: int = WIDE_BITS) -> QuantParams:
        """The map with zero point 0 whose integers span [-reach, reach]."""
        if not 0 <= reach < float("inf"):
            raise ValueError(f"reach {reach} is not finite and positive")
        return cls(as_stored(max(reach / ((1 << (bits - 1)) - 1), 1e-12)), 0, bits)


def as_stored(scale: float) -> float:
    """The scale as the float32 number that a file holds."""
    return float(np.float32(scale))


IMAGE_GRID = QuantParams(as_stored(1 / 255), -128)
"""An 8-bit image in [0, 1]: the integers are its bytes minus 128."""


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """A convolution's integers: values (O, I, kh, kw) in -127..127, scales (O,), bias (O,) in input scale * scales."""

    values: Tensor
    scales: Tensor
    bias: Tensor

    def __post_init__(self) -> None:
        """Refuse scales and biases that are not one for each output channel."""
        rows = self.values.shape[:1]
        if self.scales.shape != rows or self.bias.shape != rows:
            shapes = f"scales {tuple(self.scales.shape)}, bias {tuple(self.bias.shape)}"
            raise ValueError(f"{shapes} do not fit weight {tuple(self.values.shape)}: one for each output channel")


@dataclass(frozen=True, eq=False)
class QuantizedGraph:
    """A graph, the quantization of each of its tensors, and the integer weights of its convolutions.

    Raises `ExportError` when a tensor or a convolution has none, and where two widths meet without a `Requantize`.
    """

    graph: Graph
    activations: Mapping[str, QuantParams]
    weights: Mapping[str, QuantizedWeight]

    def __post_init__(self) -> None:
        """Every tensor and every convolution needs its integers."""
        missing = [t for t in self.graph.specs if t not in self.activations]
        missing += [op.name for op in self.graph if isinstance(op, Convolution) and op.name not in self.weights]
        if missing:
            raise ExportError(f"graph '{self.graph.name}': no quantization for {', '.join(missing[:5])}")
        for name in (self.graph.input.name, self.graph.output):
            if self.bits(name) != NARROW_BITS:
                raise ExportError(f"graph '{self.graph.name}': its image '{name}' has {self.bits(name)} bits, not 8")
        for op in self.graph:
            self._refuse_mixed(op)

    def _refuse_mixed(self, op: Op) -> None:
        """One width for all that an operator reads and writes, known and, where it is 16 bits, symmetric."""
        params = [self.activations[name] for name in (*op.inputs, op.name)]
        for name, q in zip((*op.inputs, op.name), params, strict=True):
            if q.bits not in (NARROW_BITS, WIDE_BITS) or (q.bits == WIDE_BITS and q.zero_point != 0):
                raise ExportError(
                    f"'{name}' has {q.bits} bits and zero point {q.zero_point}; activations have 8 bits, or 16 around 0"
                )
        if len({q.bits for q in params}) > 1 and not isinstance(op, Requantize):
            widths = ", ".join(f"'{name}' {self.bits(name)}" for name in (*op.inputs, op.name))
            raise ExportError(f"{type(op).__name__} '{op.name}' mixes widths ({widths} bits) without a Requantize")

    def bits(self, name: str) -> int:
        """How many bits a tensor's integers have."""
        return self.activations[name].bits

    @property
    def wide_tensors(self) -> tuple[str, ...]:
        """The tensors of 16 bits, in the graph's order."""
        return tuple(name for name in self.graph.specs if self.bits(name) == WIDE_BITS)

    @property
    def input(self) -> QuantParams:
        """The quantization of the input image."""
        return self.activations[self.graph.input.name]

    @property
    def output(self) -> QuantParams:
        """The quantization of the output image."""
        return self.activations[self.graph.output]

    @cached_property
    def dequantized(self) -> Graph:
        """The float graph that holds the reals of the integer weights and biases."""
        return replace(self.graph, ops=tuple(self._dequantized_op(op) for op in self.graph))

    def _dequantized_op(self, op: Op) -> Op:
        if not isinstance(op, Convolution):
            return op
        w, input_scale = self.weights[op.name], self.activations[op.inputs[0]].scale
        scales = w.scales.double()
        weight = w.values.double() * scales[:, None, None, None]
        return replace(op, weight=weight, bias=w.bias.double() * scales * input_scale)

    def execute(self, x: Tensor) -> Tensor:
        """The output's reals for the real image `x` (N, C, H, W), all tensors rounded to their integers."""

        def rounded(name: str, y: Tensor) -> Tensor:
            params = self.activations[name]
            return params.dequantize(params.quantize(y))

        return self.dequantized.execute(x, rounded)

    def evaluate_integers(self, op: Op, *inputs: Tensor) -> Tensor:
        """One operator's exact integer output (float64) for given integer inputs (N, C, H, W)."""
        reals = [self.activations[name].dequantize(q.double()) for name, q in zip(op.inputs, inputs, strict=True)]
        exact = self.dequantized_op(op.name).evaluate(*reals)
        return self.activations[op.name].quantize(exact)

    def dequantized_op(self, name: str) -> Op:
        """The operator of that name with the reals of its integer weights."""
        op = self.dequantized.producer(name)
        if op is None:
            raise KeyError(name)
        return op


def float_graph(network: Graph | QuantizedGraph) -> Graph:
    """The float graph of a network that may be quantized."""
    return network.graph if isinstance(network, QuantizedGraph) else network
