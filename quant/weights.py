"""Integer weights: symmetric, per output channel, rounded to nearest; biases in int32."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from edgesr.graph import Graph
from edgesr.ops import Convolution
from edgesr.quantized import QuantizedWeight, QuantParams

WEIGHT_LIMIT = 127
BIAS_LIMIT = 2**30
"""Half of int32: the sum of a bias and thousands of products of 8-bit integers stays within it."""


def quantize_weights(graph: Graph, activations: Mapping[str, QuantParams]) -> dict[str, QuantizedWeight]:
    """Integers for every convolution of the graph."""
    return {
        op.name: quantize_weight(op, activations[op.inputs[0]].scale) for op in graph if isinstance(op, Convolution)
    }


def quantize_weight(op: Convolution, input_scale: float) -> QuantizedWeight:
    """Each output channel's weights, and its bias, on the grids that `weight_scales` chooses."""
    scales = weight_scales(op, input_scale)
    values = torch.round(op.weight / scales[:, None, None, None]).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
    return QuantizedWeight(values.to(torch.int8), scales, quantize_bias(op, scales, input_scale))


def weight_scales(op: Convolution, input_scale: float) -> torch.Tensor:
    """The step of each output channel, (O,) float64, as the float32 number that a file stores.

    It is the largest magnitude / 127; more where the bias, in steps of input scale * step, would pass half of its limit
    (a channel of almost no weight); and 1 where that is no normal float32: the channel is zero.
    """
    steps = op.weight.abs().flatten(1).amax(1) / WEIGHT_LIMIT
    if op.bias is not None:
        steps = torch.maximum(steps, op.bias.abs() / (input_scale * BIAS_LIMIT / 2))
    stored = steps.float().double()
    return torch.where(stored >= torch.finfo(torch.float32).tiny, stored, torch.ones_like(stored))


def quantize_bias(op: Convolution, scales: torch.Tensor, input_scale: float) -> torch.Tensor:
    """The bias (O,) int32 in steps of input scale * weight scale; zero where there is none."""
    if op.bias is None:
        return torch.zeros(op.weight.shape[0], dtype=torch.int32)
    return torch.round(op.bias / (scales * input_scale)).to(torch.int32)
