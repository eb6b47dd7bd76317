"""GPTQ: round the weights of a convolution one input column at a time, the rest making up for each rounding.

For one layer with inputs X (K, N) (the patches that its kernel sees, and a row of ones for the bias), minimise
||W X - W_q X||^2 over W_q on the grid of each output channel. Rounding column j leaves e = (w_j - q_j) / U_jj, which
the columns not yet rounded take up, W[:, j:] -= e U[j, j:], with U the upper Cholesky factor of the inverse of
H = X X^T + damping (Frantar et al., GPTQ, 2022). Columns go in the order of falling energy H_jj; the bias, which is
hardly rounded at all, comes last and takes up what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesr.ops import Convolution
from edgesr.quant.sequential import LayerInputs
from edgesr.quant.weights import BIAS_LIMIT, WEIGHT_LIMIT
from edgesr.quantized import QuantizedWeight

DAMPING = 1e-3
"""Of the mean energy, added to every column: columns that the images never excite stay at nearest rounding."""


def round_with_gptq(op: Convolution, weight: QuantizedWeight, inputs: LayerInputs) -> QuantizedWeight:
    """The integers that GPTQ finds on the given scales; grouped and depthwise convolutions stay as they are."""
    if op.group_count != 1:
        return weight
    bias = torch.zeros(op.weight.shape[0], dtype=torch.float64) if op.bias is None else op.bias
    columns = torch.cat([op.weight.flatten(1), bias[:, None]], 1)
    hessian = _hessian(op, inputs.rounded)
    if not bool(torch.isfinite(hessian).all()) or not bool((hessian.diagonal() > 0).any()):
        return weight
    values, new_bias = _round_columns(columns, weight.scales, hessian)
    steps = torch.round(new_bias / (weight.scales * inputs.scale)).clamp(-BIAS_LIMIT, BIAS_LIMIT)
    return replace(weight, values=values.reshape(op.weight.shape).to(torch.int8), bias=steps.to(torch.int32))


def _hessian(op: Convolution, inputs: Sequence[Tensor]) -> Tensor:
    """X X^T over all images, (K + 1, K + 1) float64, the row of ones last."""
    size = op.weight[0].numel() + 1
    total = torch.zeros(size, size, dtype=torch.float64)
    for x in inputs:
        patches = F.unfold(x.float(), op.kernel, op.dilation, op.padding, op.stride)[0]
        patches = torch.cat([patches, torch.ones(1, patches.shape[1])])
        total += (patches @ patches.T).double()
    return total


def _round_columns(columns: Tensor, scales: Tensor, hessian: Tensor) -> tuple[Tensor, Tensor]:
    """Integers (O, K) and real biases (O,) for columns (O, K + 1), the bias last."""
    last = columns.shape[1] - 1
    order = torch.cat([hessian.diagonal()[:last].argsort(descending=True, stable=True), torch.tensor([last])])
    w, h = columns[:, order].clone(), hessian[order][:, order].clone()
    h.diagonal().add_(DAMPING * h.diagonal().mean())
    # the inverse through its own factor is symmetric to the last bit, also where constant inputs make h nearly singular
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(h))
    factor = torch.linalg.cholesky(inverse, upper=True)
    integers = torch.zeros(columns.shape[0], last, dtype=torch.float64)
    for j in range(last):
        q = torch.round(w[:, j] / scales).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
        integers[:, order[j]] = q
        error = (w[:, j] - q * scales) / factor[j, j]
        w[:, j:] -= error[:, None] * factor[j, j:]
    return integers, w[:, last]
