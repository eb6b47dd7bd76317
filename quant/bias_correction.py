"""Bias correction: give every output channel back the mean that rounding took from it.

Rounded weights and inputs shift the mean of what a convolution computes, channel by channel, and the shifts of the last
convolution before depth-to-space are visible as a grid. On calibration images, in the order of the graph,

    b[c] += mean over images and positions of (W x + b - (W_q x_q + b_q))[c]

with x the float input and x_q what the quantized operators before, already corrected, make of it; before the fused
activation (Nagel et al., Data-Free Quantization, 2019, section 4.2, the empirical form).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from edgesr.ops import Activation, Convolution, Op
from edgesr.progress import Progress, silent
from edgesr.quant.calibration import to_tensor
from edgesr.quant.weights import BIAS_LIMIT
from edgesr.quantized import QuantizedGraph, QuantizedWeight


def correct_biases(
    network: QuantizedGraph, images: Sequence[np.ndarray], progress: Progress = silent
) -> QuantizedGraph:
    """The network with corrected int32 biases, from uint8 images (H, W, 3) of any sizes."""
    graph = network.graph
    exact: list[dict[str, Tensor]] = [{graph.input.name: to_tensor(image)} for image in images]
    rounded = [{name: _rounded(network, name, x) for name, x in values.items()} for values in exact]
    weights = dict(network.weights)
    last_use = {name: op.name for op in graph for name in op.inputs}
    with torch.no_grad():
        for done, op in enumerate(graph):
            progress("correcting biases", done, len(graph.ops))
            quantized_op = network.dequantized_op(op.name)
            if isinstance(op, Convolution) and isinstance(quantized_op, Convolution):
                shift = _mean_shift(op, quantized_op, exact, rounded)
                weights[op.name] = _shifted(weights[op.name], shift, network.activations[op.inputs[0]].scale)
                assert quantized_op.bias is not None
                quantized_op = replace(quantized_op, bias=quantized_op.bias + shift)
            for values, quantized_values in zip(exact, rounded, strict=True):
                values[op.name] = _evaluate(op, values)
                quantized_values[op.name] = _rounded(network, op.name, _evaluate(quantized_op, quantized_values))
            _forget([*exact, *rounded], [name for name in op.inputs if last_use[name] == op.name])
    progress("correcting biases", len(graph.ops), len(graph.ops))
    return replace(network, weights=weights)


def _mean_shift(
    op: Convolution,
    quantized_op: Convolution,
    exact: Sequence[Mapping[str, Tensor]],
    rounded: Sequence[Mapping[str, Tensor]],
) -> Tensor:
    """What each channel's mean lacks, (O,) float64."""
    bare, quantized_bare = (replace(x, activation=Activation.NONE) for x in (op, quantized_op))
    shifts = [
        (_evaluate(bare, values) - _evaluate(quantized_bare, quantized_values)).mean((0, 2, 3))
        for values, quantized_values in zip(exact, rounded, strict=True)
    ]
    return torch.stack(shifts).mean(0).double()


def _shifted(weight: QuantizedWeight, shift: Tensor, input_scale: float) -> QuantizedWeight:
    steps = torch.round(weight.bias.double() + shift / (weight.scales * input_scale))
    return replace(weight, bias=steps.clamp(-BIAS_LIMIT, BIAS_LIMIT).to(torch.int32))


def _evaluate(op: Op, values: Mapping[str, Tensor]) -> Tensor:
    return op.evaluate(*(values[name] for name in op.inputs)).float()


def _rounded(network: QuantizedGraph, name: str, x: Tensor) -> Tensor:
    params = network.activations[name]
    return params.dequantize(params.quantize(x))


def _forget(all_values: Sequence[dict[str, Tensor]], names: Sequence[str]) -> None:
    for values in all_values:
        for name in names:
            values.pop(name, None)
