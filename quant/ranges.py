"""From statistics to quantization parameters: percentile or min-max ranges, and which tensors must share them.

The input and the output image lie on the 1/255 grid with zero point -128: uint8 input is exact, and int8 saturation at
the output is the clip to [0, 1]. Operators that only move values (concat, depth-to-space, slice, nearest resize) have
one quantization for all they read and write, because the runtimes move integers.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import torch
from torch import Tensor

from edgesr.errors import CalibrationError
from edgesr.graph import Graph
from edgesr.ops import Concat, DepthToSpace, ResizeNearest, Slice
from edgesr.quant.calibration import Calibration, TensorStatistics
from edgesr.quantized import IMAGE_GRID, QuantParams

MOVERS = (Concat, DepthToSpace, ResizeNearest, Slice)


class RangeMethod(enum.Enum):
    """How a tensor's range is read from its values."""

    PERCENTILE = "percentile"
    MIN_MAX = "min-max"


@dataclass(frozen=True)
class RangeRule:
    """A method and, for percentiles, the share of values cut off at each end."""

    method: RangeMethod = RangeMethod.PERCENTILE
    tail: float = 1e-4

    def bounds(self, statistics: TensorStatistics) -> tuple[float, float]:
        """The range of one tensor."""
        if self.method is RangeMethod.MIN_MAX:
            return statistics.lowest.min().item(), statistics.highest.max().item()
        return quantile_bounds(statistics.samples, self.tail)


def quantile_bounds(samples: Tensor, tail: float) -> tuple[float, float]:
    """The values below and above which a share `tail` of all samples lies."""
    values = samples.flatten()
    k = max(1, round(tail * values.numel()))
    return torch.topk(values, k, largest=False).values[-1].item(), torch.topk(values, k).values[-1].item()


def choose_ranges(graph: Graph, calibration: Calibration, rule: RangeRule) -> dict[str, QuantParams]:
    """Quantization parameters for every tensor; raises `CalibrationError` where a tensor never left zero."""
    chosen: dict[str, QuantParams] = {}
    for group in tied_groups(graph):
        if graph.input.name in group or graph.output in group:
            params = IMAGE_GRID
        else:
            bounds = [rule.bounds(calibration[name]) for name in group]
            low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
            if low == high == 0:
                raise CalibrationError(f"'{group[0]}' is zero on every calibration image; use images with content")
            params = QuantParams.from_range(low, high)
        chosen |= dict.fromkeys(group, params)
    return chosen


def tied_groups(graph: Graph) -> list[list[str]]:
    """All tensors, those that must share one quantization together."""
    groups = {name: {name} for name in graph.specs}
    for op in graph:
        if isinstance(op, MOVERS):
            merged: set[str] = set().union(*(groups[name] for name in (op.name, *op.inputs)))
            groups |= dict.fromkeys(merged, merged)
    return [sorted(group) for group in {id(g): g for g in groups.values()}.values()]
