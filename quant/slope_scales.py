"""Steps between which a LeakyReLU's two slopes are numbers that 8-bit kernels can hold.

XNNPACK multiplies a LeakyReLU's integers by numbers of 8 fractional bits (its `xnn_qs8_vlrelu` microkernels):

    m+ = round(256 r),   m- = round(256 slope r),   r = input step / output step

so a step chosen freely bends the function: at r = 0.5, m+ may be 0.4 % wrong, and with a slope of 0.05 m- = 6.4 is 6 %
wrong. The input's step is widened, by a tenth at most, until k = 256 r is whole and slope * k as near to a whole number
as it gets. It costs a fraction of a bit of what a convolution writes before the function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgesr.graph import Graph
from edgesr.ops import LeakyRelu
from edgesr.quant.ranges import is_prescribed, tied_groups
from edgesr.quantized import NARROW_BITS, QuantParams, as_stored

FRACTION = 256
WIDEST = 1.1
SLOPE_ERROR = 0.002
"""Of the slope; below half of what parity allows the gain of an operator."""


def with_exact_slopes(graph: Graph, activations: Mapping[str, QuantParams]) -> dict[str, QuantParams]:
    """The quantization with the step of each LeakyReLU's input widened, where that is tied to nothing else."""
    alone = {group[0] for group in tied_groups(graph) if len(group) == 1 and not is_prescribed(graph, group)}
    chosen = dict(activations)
    for op in graph:
        if isinstance(op, LeakyRelu) and op.inputs[0] in alone and chosen[op.name].bits == NARROW_BITS:
            (source,) = op.inputs
            chosen[source] = _widened(chosen[source], chosen[op.name].scale, op.slope)
    return chosen


def _widened(params: QuantParams, output_step: float, slope: float) -> QuantParams:
    """The input's parameters with the least step that fits, or, where none within the tenth does, the best."""
    wanted = FRACTION * params.scale / output_step
    candidates = range(math.ceil(wanted), max(math.ceil(wanted), math.floor(wanted * WIDEST)) + 1)
    fitting = [k for k in candidates if _slope_error(k, slope) <= SLOPE_ERROR]
    k = fitting[0] if fitting else min(candidates, key=lambda k: _slope_error(k, slope))
    step = as_stored(k * output_step / FRACTION)
    below = (params.zero_point - params.lowest) * params.scale
    return QuantParams(step, params.lowest + round(below / step), params.bits)


def _slope_error(k: int, slope: float) -> float:
    """How far round(slope * k) is from slope * k, relative to it."""
    exact = abs(slope) * k
    return abs(round(exact) - exact) / exact if exact > 0 else 0.0
