"""Sources of error: which operators the error of an INT8 picture comes from, and with what share.

The own error of an operator is what the runtime made of its inputs minus what the float64 operator, with unrounded
weights, makes of the same inputs: the rounding of its output, of its weights, and what its range cuts off. Put into the
float64 graph at that operator and nowhere else, it travels to the picture through every gate and layer behind it, and
the PSNR there says what this operator alone costs:

    alone_i = mean((graph with own error of i) - graph)^2        share_i = alone_i / sum(alone)

Pictures are clipped to [0, 1] first. Shares are of the sum of the parts. The parts need not add up to the whole:
errors that lean the same way, or that make up for each other as bias correction means them to, do not add as squares.
`explained` is the sum of the parts over the whole and says how far the shares can be trusted: near 1 they can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgesr.graph import Observer
from edgesr.ops import Constant, Op
from edgesr.progress import Progress, silent
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.divergence import Trace
from edgesr.runtime.operator_parity import evaluate_unrounded
from edgesr.runtime.torch_runner import to_nchw

LEAST_MSE = 1e-30


@dataclass(frozen=True)
class ErrorSource:
    """One operator: the PSNR of the picture were it the only one with an error, and its share of the sum (0..1)."""

    operator: str
    kind: str
    alone_psnr_db: float
    share: float


@dataclass(frozen=True)
class ErrorSources:
    """The operators of one file on one case, the largest source first; operators without an error are left out."""

    file: str
    runner: str
    case: str
    psnr_db: float
    explained: float
    sources: tuple[ErrorSource, ...]


def find_error_sources(
    network: QuantizedGraph, trace: Trace, case: ParityCase, progress: Progress = silent
) -> ErrorSources:
    """What each operator's own error costs; `trace` holds every tensor of one run on the case, constants included.

    Raises:
        KeyError: the trace lacks a tensor.

    """
    image = to_nchw(case.image, torch.float64)
    operators = [op for op in network.graph if not isinstance(op, Constant)]
    alone: dict[Op, float] = {}
    with torch.no_grad():
        expected = _picture(network.graph.execute(image))
        for done, op in enumerate(operators):
            progress(f"error sources {trace.file}", done, len(operators))
            own = _own_error(network, op, trace.tensors)
            if own.any():
                alone[op] = _mse(_picture(network.graph.execute(image, _adding(op.name, own))), expected)
        progress(f"error sources {trace.file}", len(operators), len(operators))
        whole = _mse(_picture(_reals(network, network.graph.output, trace.tensors)), expected)
    total = max(sum(alone.values()), LEAST_MSE)
    sources = [ErrorSource(op.name, type(op).__name__, _db(mse), mse / total) for op, mse in alone.items()]
    ordered = tuple(sorted(sources, key=lambda source: -source.share))
    return ErrorSources(trace.file, trace.runner, case.name, _db(whole), total / max(whole, LEAST_MSE), ordered)


def _own_error(network: QuantizedGraph, op: Op, tensors: Mapping[str, np.ndarray]) -> Tensor:
    found = _reals(network, op.name, tensors)
    return found - evaluate_unrounded(network.graph, op, [_reals(network, name, tensors) for name in op.inputs])


def _reals(network: QuantizedGraph, name: str, tensors: Mapping[str, np.ndarray]) -> Tensor:
    return network.activations[name].dequantize(to_nchw(tensors[name], torch.float64))


def _adding(name: str, error: Tensor) -> Observer:
    return lambda tensor, value: value + error if tensor == name else value


def _picture(output: Tensor) -> Tensor:
    return output.clamp(0, 1)


def _mse(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).square().mean())


def _db(mse: float) -> float:
    """PSNR against a peak of 1, at most 300 dB (where equal)."""
    return float(-10 * np.log10(max(mse, LEAST_MSE)))
