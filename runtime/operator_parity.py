"""Operator by operator: what each one makes of the inputs that the runtime itself gave it.

Each operator is computed in float64 (for INT8: exactly, rounded once) on the runtime's own inputs and compared with the
runtime's own output, so a deviation belongs to that operator alone. SQNR against the float64 graph on the original
image shows beside it how much error has accumulated up to there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from edgesr.graph import Graph
from edgesr.ops import Constant, Op
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.runner import Tracer
from edgesr.runtime.tolerance import FLOAT_TOLERANCES, INTEGER_TOLERANCE
from edgesr.runtime.torch_runner import GraphRunner, to_nchw, to_nhwc
from edgesr.target import Precision

INPUT_NAME, OUTPUT_NAME = "image", "output"
"""What files call the graph's input and output where an edge replaces the graph's own tensor."""


@dataclass(frozen=True)
class OperatorRow:
    """One operator on one runner: its own error and the error accumulated so far.

    `max_lsb` counts integer steps (INT8 only), `max_relative` is the largest error over the tensor's largest value, and
    `sqnr_db` compares with the float64 graph. `why` says what a failed row exceeded.
    """

    file: str
    runner: str
    operator: str
    kind: str
    max_relative: float
    relative_l2: float
    max_lsb: int | None
    differing_share: float
    sqnr_db: float
    why: str | None

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""
        return self.why is None

    def describe(self) -> str:
        """The row as a phrase, for errors."""
        return f"{self.kind} '{self.operator}' on {self.runner}: {self.why or 'passed'}"


def compare_operators(
    file: str, precision: Precision, network: Graph | QuantizedGraph, runner: Tracer, name: str, case: ParityCase
) -> list[OperatorRow]:
    """Every operator of the network on one runner; an operator whose tensor the runner does not show fails."""
    graph = network.graph if isinstance(network, QuantizedGraph) else network
    reference = GraphRunner(graph).trace(case.image)
    tensors = _by_graph_names(runner.trace(case.image), graph, network, case)
    rows: list[OperatorRow] = []
    for op in graph:
        if isinstance(op, Constant):
            continue
        missing = [x for x in (op.name, *op.inputs) if x not in tensors and not isinstance(graph.producer(x), Constant)]
        if missing:
            rows.append(_missing(file, name, op, missing[0]))
            continue
        rows.append(_compare(file, precision, network, name, op, tensors, reference[op.name]))
    return rows


def _by_graph_names(
    tensors: Mapping[str, np.ndarray], graph: Graph, network: Graph | QuantizedGraph, case: ParityCase
) -> dict[str, np.ndarray]:
    named = dict(tensors)
    if graph.output not in named and OUTPUT_NAME in named:
        named[graph.output] = named[OUTPUT_NAME]
    image = torch.from_numpy(case.image)
    named[graph.input.name] = (network.input.quantize(image) if isinstance(network, QuantizedGraph) else image).numpy()
    for op in graph:
        if isinstance(op, Constant):
            value = op.value.reshape(1, 1, 1, -1)
            named[op.name] = (
                network.activations[op.name].quantize(value) if isinstance(network, QuantizedGraph) else value
            ).numpy()
    return named


def _compare(
    file: str,
    precision: Precision,
    network: Graph | QuantizedGraph,
    runner: str,
    op: Op,
    tensors: Mapping[str, np.ndarray],
    reference: np.ndarray,
) -> OperatorRow:
    inputs = [to_nchw(tensors[x], torch.float64) for x in op.inputs]
    found = tensors[op.name].astype(np.float64)
    with torch.no_grad():
        if isinstance(network, QuantizedGraph):
            expected = to_nhwc(network.evaluate_integers(op, *inputs))
            params = network.activations[op.name]
            real = (found - params.zero_point) * params.scale
            peak = max(abs(expected - params.zero_point).max(), 1.0)
        else:
            expected = to_nhwc(_as_stored(op, precision).evaluate(*inputs))
            real, peak = found, max(abs(expected).max(), 1e-30)
    if found.shape != expected.shape:
        return _missing(file, runner, op, op.name)
    difference = np.abs(found - expected)
    l2 = float(np.linalg.norm(difference)) / max(float(np.linalg.norm(expected)), 1e-30)
    lsb = int(difference.max()) if isinstance(network, QuantizedGraph) else None
    relative = float(difference.max() / peak)
    row = (relative, l2, lsb, float(np.mean(difference > 0)), sqnr_db(real, reference))
    return OperatorRow(file, runner, op.name, type(op).__name__, *row, _excess(precision, relative, l2, lsb))


def _as_stored(op: Op, precision: Precision) -> Op:
    """The operator with its parameters rounded as the file stores them: their rounding is judged end to end."""
    if precision is not Precision.FP16:
        return op
    return op.with_parameters({field: value.half().double() for field, value in op.parameters().items()})


def _excess(precision: Precision, relative: float, l2: float, lsb: int | None) -> str | None:
    if lsb is not None:
        limit = INTEGER_TOLERANCE.max_lsb
        return None if lsb <= limit else f"{lsb} LSB from exact integer arithmetic, limit {limit}"
    tolerance = FLOAT_TOLERANCES[precision]
    if not relative <= tolerance.max_abs:
        return f"max error {relative:.2g} of the tensor's peak > {tolerance.max_abs:.2g}"
    return None if l2 <= tolerance.relative_l2 else f"relative L2 {l2:.2g} > {tolerance.relative_l2:.2g}"


def _missing(file: str, runner: str, op: Op, tensor: str) -> OperatorRow:
    why = f"tensor '{tensor}' is missing from the file, or has another shape"
    return OperatorRow(file, runner, op.name, type(op).__name__, float("inf"), float("inf"), None, 1.0, 0.0, why)


def sqnr_db(found: np.ndarray, reference: np.ndarray) -> float:
    """Signal over error power in dB, at most 200 (where they are equal)."""
    error = float(np.sum((found - reference) ** 2))
    return min(200.0, 10 * float(np.log10(max(float(np.sum(reference**2)), 1e-30) / max(error, 1e-30))))
