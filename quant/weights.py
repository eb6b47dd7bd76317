"""Integer weights: symmetric, per output channel, rounded to nearest; biases in int32."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from edgesr.graph import Graph
from edgesr.ops import Convolution
from edgesr.quantized import QuantizedWeight, QuantParams

WEIGHT_LIMIT = 127
INT32_LIMIT = 2**31 - 1


def quantize_weights(graph: Graph, activations: Mapping[str, QuantParams]) -> dict[str, QuantizedWeight]:
    """Integers for every convolution of the graph."""
    return {
        op.name: quantize_weight(op, activations[op.inputs[0]].scale) for op in graph if isinstance(op, Convolution)
    }


def quantize_weight(op: Convolution, input_scale: float) -> QuantizedWeight:
    """Each output channel's weights on the grid of its largest magnitude / 127; all-zero channels keep scale 1."""
    scales = weight_scales(op)
    values = torch.round(op.weight / scales[:, None, None, None]).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
    return QuantizedWeight(values.to(torch.int8), scales, quantize_bias(op, scales, input_scale))


def weight_scales(op: Convolution) -> torch.Tensor:
    """The step of each output channel, (O,) float64, as the float32 number that a file stores."""
    largest = op.weight.abs().flatten(1).amax(1)
    scales = torch.where(largest > 0, largest / WEIGHT_LIMIT, torch.ones_like(largest))
    return scales.float().double()


def quantize_bias(op: Convolution, scales: torch.Tensor, input_scale: float) -> torch.Tensor:
    """The bias (O,) int32 in steps of input scale * weight scale; zero where there is none."""
    if op.bias is None:
        return torch.zeros(op.weight.shape[0], dtype=torch.int32)
    return torch.round(op.bias / (scales * input_scale)).clamp(-INT32_LIMIT, INT32_LIMIT).to(torch.int32)
