"""From statistics to quantization parameters: percentile or min-max ranges, and which tensors must share them.

The input and the output image lie on the 1/255 grid with zero point -128: uint8 input is exact, and int8 saturation at
the output is the clip to [0, 1]. Sigmoid and Tanh have the output grids that TFLite prescribes. Operators that only
move values or choose among them (concat, depth-to-space, slice, nearest resize, max pooling) have one quantization for
all they read and write, because the runtimes move integers.

What a function cannot tell apart needs no integers. On its grid of 1/256 a sigmoid is 0 below -6.26 and 255/256 above
5.14 (-ln 521 and ln 171, a hundredth of a step past the ties): a tensor that sigmoids alone read needs no wider range.
SiLU's argument x needs none below -6.26, where the product x * sigmoid(x) is zero whatever x is.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgesr.errors import CalibrationError, ExportError
from edgesr.graph import Graph
from edgesr.ops import Concat, DepthToSpace, MaxPool, Mul, Op, ResizeNearest, Sigmoid, Slice, Tanh
from edgesr.quant.calibration import Calibration, TensorStatistics
from edgesr.quantized import IMAGE_GRID, QuantParams

MOVERS = (Concat, DepthToSpace, MaxPool, ResizeNearest, Slice)
FUNCTION_GRIDS: Mapping[type[Op], QuantParams] = {
    Sigmoid: QuantParams(1 / 256, -128),
    Tanh: QuantParams(1 / 128, 0),
}
"""Outputs of fixed range; TFLite's INT8 specification demands these parameters, its reference kernels refuse others."""

INVERSES: Mapping[type[Op], Callable[[float], float]] = {
    Sigmoid: lambda y: math.log(y / (1 - y)),
    Tanh: math.atanh,
}
"""The arguments of these functions, which all rise."""

UNDECIDED = 0.49
"""Steps from the first and the last integer within which a value is that integer for certain, ties left out."""


class RangeMethod(enum.Enum):
    """How a tensor's range is read from its values."""

    PERCENTILE = "percentile"
    MIN_MAX = "min-max"


@dataclass(frozen=True)
class RangeRule:
    """A method and, for percentiles, the share of values cut off at each end.

    The default tail was chosen on photographs of BSDS500's training set that calibrated nothing, against 1e-4.
    """

    method: RangeMethod = RangeMethod.PERCENTILE
    tail: float = 3e-5

    def __post_init__(self) -> None:
        """Refuse tails that leave nothing between them."""
        if not 0 <= self.tail < 0.5:
            raise ValueError(f"tail {self.tail} is no share below one half")

    def bounds(self, statistics: TensorStatistics) -> tuple[float, float]:
        """The range of one tensor; its extremes where it is so rarely off zero that percentiles see nothing else."""
        extremes = statistics.lowest.min().item(), statistics.highest.max().item()
        if self.method is RangeMethod.MIN_MAX:
            return extremes
        low, high = quantile_bounds(statistics.samples, self.tail)
        return extremes if low == high == 0 else (low, high)


def quantile_bounds(samples: Tensor, tail: float) -> tuple[float, float]:
    """The values below and above which a share `tail` of all samples lies."""
    values = samples.flatten()
    k = max(1, round(tail * values.numel()))
    return torch.topk(values, k, largest=False).values[-1].item(), torch.topk(values, k).values[-1].item()


def choose_ranges(graph: Graph, calibration: Calibration, rule: RangeRule) -> dict[str, QuantParams]:
    """Quantization parameters for every tensor.

    Raises `CalibrationError` where a tensor never left zero, and `ExportError` where tensors that must share one
    quantization cannot.
    """
    chosen: dict[str, QuantParams] = {}
    for group in tied_groups(graph):
        bounds = {name: needed_bounds(graph, name, rule.bounds(calibration[name])) for name in group}
        params = _prescribed(graph, group)
        if params is None:
            low, high = min(b[0] for b in bounds.values()), max(b[1] for b in bounds.values())
            if low == high == 0:
                raise CalibrationError(f"'{group[0]}' is zero on every calibration image; use images with content")
            params = QuantParams.from_range(low, high)
        else:
            _refuse_clipped(graph, bounds, params)
        chosen |= dict.fromkeys(group, params)
    return chosen


def needed_bounds(graph: Graph, name: str, bounds: tuple[float, float]) -> tuple[float, float]:
    """The part of a tensor's range that its readers tell apart in 8 bits."""
    readers = graph.consumers[name]
    functions = [op for op in readers if type(op) in INVERSES]
    others = [op for op in readers if op not in functions]
    if not functions or name == graph.output:
        return bounds
    ends = [_distinguished(type(op)) for op in functions]
    lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
    low, high = bounds
    if not others:
        return max(low, min(lowest, 0.0)), min(high, max(highest, 0.0))
    vanishing = {op.name for op in functions if isinstance(op, Sigmoid)}
    if len(vanishing) == len(functions) and all(_is_product_with(op, name, vanishing) for op in others):
        return max(low, lowest), max(high, lowest)
    return bounds


def _distinguished(function: type[Op]) -> tuple[float, float]:
    """The arguments below and above which a function is the first and the last integer of its grid."""
    grid, inverse = FUNCTION_GRIDS[function], INVERSES[function]
    first, last = (grid.scale * (q - grid.zero_point) for q in (grid.lowest + UNDECIDED, grid.highest - UNDECIDED))
    return inverse(first), inverse(last)


def _is_product_with(op: Op, name: str, factors: Collection[str]) -> bool:
    """Whether an operator is the product of a tensor and one of `factors`."""
    return isinstance(op, Mul) and name in op.inputs and bool(set(op.inputs) & set(factors))


def _prescribed(graph: Graph, group: Sequence[str]) -> QuantParams | None:
    """The grid that the image or a function prescribes to a group, None where nothing does."""
    grids = [("the image", IMAGE_GRID) for name in group if name in (graph.input.name, graph.output)]
    producers = [op for op in map(graph.producer, group) if op is not None]
    grids += [(f"'{op.name}'", FUNCTION_GRIDS[type(op)]) for op in producers if type(op) in FUNCTION_GRIDS]
    for who, grid in grids[1:]:
        if grid != grids[0][1]:
            raise ExportError(
                f"{grids[0][0]} and {who} have different INT8 grids, and nothing that computes lies between; "
                "put a convolution there, or export a float target"
            )
    return grids[0][1] if grids else None


def is_prescribed(graph: Graph, group: Sequence[str]) -> bool:
    """Whether the image or a function prescribes the grid of a group of tied tensors."""
    return _prescribed(graph, group) is not None


def _refuse_clipped(graph: Graph, bounds: Mapping[str, tuple[float, float]], params: QuantParams) -> None:
    """Refuse features bound to a prescribed grid that they leave, where an operator goes on computing with them.

    What is only moved on to the output image may be clipped: that is the image's own clip. What the function itself
    made may be, too: a sigmoid of 1 is 255/256 on the grid that runtimes give it.
    """
    lowest, highest = (params.scale * (q - params.zero_point) for q in (params.lowest - 0.5, params.highest + 0.5))
    for name, (low, high) in bounds.items():
        computing = [op for op in graph.consumers[name] if not isinstance(op, MOVERS)]
        if type(graph.producer(name)) in FUNCTION_GRIDS:
            continue
        if computing and not lowest <= low <= high <= highest:
            raise ExportError(
                f"'{name}' spans {low:.3g}..{high:.3g} and shares the INT8 range of an image or function that it was "
                f"joined with; '{computing[0].name}' would read it clipped: put a convolution before the join, or "
                "export a float target"
            )


def tied_groups(graph: Graph) -> list[list[str]]:
    """All tensors, those that must share one quantization together."""
    groups = {name: {name} for name in graph.specs}
    for op in graph:
        if isinstance(op, MOVERS):
            merged: set[str] = set().union(*(groups[name] for name in (op.name, *op.inputs)))
            groups |= dict.fromkeys(merged, merged)
    return [sorted(group) for group in {id(g): g for g in groups.values()}.values()]
