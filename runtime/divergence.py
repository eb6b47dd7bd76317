"""Where do two runtimes part? The first tensor, in the graph's order, that two runners of one network disagree on.

Two files made from one quantized graph hold the same integers, whatever their format (ONNX's uint8 is TFLite's int8
plus 128, which the runners undo), so their tensors can be compared one by one. The first tensor that differs at all
names the operator that one of them rounds another way, since all that it reads is equal; one step there is allowed.
Behind it differences accumulate, so the first tensor beyond the limit of a single operator is a lead, not a verdict:
whether an operator is right on its own inputs is what operator_parity decides.

Integers are compared in steps, floats relative to the tensor's largest value, with the limits of `tolerance`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgesr.graph import Graph
from edgesr.ops import Constant
from edgesr.quantized import QuantizedGraph, float_graph
from edgesr.runtime.tolerance import FLOAT_TOLERANCES, INTEGER_TOLERANCES
from edgesr.target import Precision

IMAGE = "Image"
"""The kind of the graph's input: tensors that differ there were given different images, or quantized them otherwise."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Every tensor of one run by its name in the graph, (N, H, W, C), integers signed."""

    file: str
    runner: str
    tensors: Mapping[str, np.ndarray] = field(repr=False)


@dataclass(frozen=True)
class Divergence:
    """A tensor that two runs disagree on: which values (share, 0..1) and by how much at most.

    `largest` counts integer steps; in float files it is relative to the tensor's largest value.
    """

    operator: str
    kind: str
    differing_share: float
    largest: float


@dataclass(frozen=True)
class DivergenceRow:
    """The first divergence of two runs at all, and the first beyond what one operator may differ by; None: nowhere."""

    first_file: str
    first_runner: str
    second_file: str
    second_runner: str
    in_steps: bool
    tensors: int
    at_all: Divergence | None
    beyond_limit: Divergence | None


def compare_runs(network: Graph | QuantizedGraph, precision: Precision, traces: Sequence[Trace]) -> list[DivergenceRow]:
    """One row for each pair of runs of one network on one image; a tensor that either does not show is left out."""
    return [_row(network, precision, first, second) for first, second in itertools.combinations(traces, 2)]


def _row(network: Graph | QuantizedGraph, precision: Precision, first: Trace, second: Trace) -> DivergenceRow:
    compared = list(_differences(network, first.tensors, second.tensors))
    differing = [found for found in compared if found.differing_share > 0]
    at_all = differing[0] if differing else None
    beyond = next(
        (found for found in differing if not found.largest <= _limit(network, precision, found.operator)), None
    )
    names = (first.file, first.runner, second.file, second.runner)
    return DivergenceRow(*names, isinstance(network, QuantizedGraph), len(compared), at_all, beyond)


def _limit(network: Graph | QuantizedGraph, precision: Precision, tensor: str) -> float:
    """What one operator may differ by: steps of its width, or a share of the tensor's largest value."""
    if isinstance(network, QuantizedGraph):
        return INTEGER_TOLERANCES[network.activations[tensor].bits].max_lsb
    return FLOAT_TOLERANCES[precision].max_abs


def _differences(
    network: Graph | QuantizedGraph, first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> Iterator[Divergence]:
    graph = float_graph(network)
    kinds = {graph.input.name: IMAGE} | {op.name: type(op).__name__ for op in graph if not isinstance(op, Constant)}
    for name, kind in kinds.items():
        if name not in first or name not in second:
            continue
        if first[name].shape != second[name].shape:
            yield Divergence(name, kind, 1.0, float("inf"))
            continue
        a, b = first[name].astype(np.float64), second[name].astype(np.float64)
        difference = np.abs(a - b)
        unit = 1.0 if isinstance(network, QuantizedGraph) else max(float(np.abs(a).max()), 1e-30)
        largest = float(difference.max()) / unit
        yield Divergence(name, kind, float(np.mean(~(difference == 0))), largest if largest >= 0 else float("inf"))
