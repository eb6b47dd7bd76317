"""Bias correction: give every output channel back the mean that rounding took from it.

Rounded weights and inputs shift the mean of what a convolution computes, channel by channel, and the shifts of the last
convolution before depth-to-space are visible as a grid. On calibration images, in the order of the graph,

    b[c] += mean over images and positions of (W x + b - (W_q x_q + b_q))[c]

with x the float input and x_q what the quantized operators before, already corrected, make of it; before the fused
activation (Nagel et al., Data-Free Quantization, 2019, section 4.2, the empirical form).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from edgesr.ops import Activation, Convolution
from edgesr.quant.sequential import LayerInputs, dequantize, evaluate
from edgesr.quant.weights import BIAS_LIMIT
from edgesr.quantized import QuantizedWeight


def correct_bias(op: Convolution, weight: QuantizedWeight, inputs: LayerInputs) -> QuantizedWeight:
    """The integers with a bias that restores each channel's mean over all images."""
    bare = replace(op, activation=Activation.NONE)
    quantized = dequantize(bare, weight, inputs.scale)
    shifts = [
        (evaluate(bare, [x]) - evaluate(quantized, [x_q])).mean((0, 2, 3))
        for x, x_q in zip(inputs.exact, inputs.rounded, strict=True)
    ]
    shift = torch.stack(shifts).mean(0).double()
    steps = torch.round(weight.bias.double() + shift / (weight.scales * inputs.scale))
    return replace(weight, bias=steps.clamp(-BIAS_LIMIT, BIAS_LIMIT).to(torch.int32))
