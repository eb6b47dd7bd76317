"""SPANV2's gate in native operators, and how programs that hold `edgesr::span_attn` become native again.

The operator is defined in `runtime/cuda/span_attn.py`. A module that uses it has therefore registered it, so capturing
such a module needs no import of the kernels: the decomposition is found by the operator's name.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

NAMESPACE, OPERATOR = "edgesr", "span_attn"


def span_gate(x: Tensor, f: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """(x + f) * (W f + b) for x and f (N, C, H, W), w (C, C, 1, 1) and b (C,)."""
    return (x + f) * F.conv2d(f, w, b)


def native_decompositions() -> dict[torch._ops.OperatorBase, Callable[..., Tensor]]:
    """The operator's decomposition for `torch.export`; empty where nothing has defined the operator."""
    packet = getattr(getattr(torch.ops, NAMESPACE), OPERATOR, None)
    return {} if packet is None else {packet.default: span_gate}
