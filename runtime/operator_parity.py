"""Operator by operator: what each one makes of the inputs that the runtime itself gave it.

Each operator is computed in float64 (for INT8: exactly, rounded once) on the runtime's own inputs and compared with the
runtime's own output, so a deviation belongs to that operator alone. INT8 outputs must lie within a step of it, and
must not drift: a scale that is 2 % wrong moves most values by less than a step, but all of them the same way. The edges
are compared too: the integers that the file makes of the image, and the image that it makes of its last tensor, which
also shows that the traced copy computes what the file computes. SQNR against the float64 graph on the original image
shows beside it how much error has accumulated up to there, and `span` what the tensor's integers cut off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from edgesr.artifact import OUTPUT_NAME, IOContract
from edgesr.errors import first_line
from edgesr.graph import Graph
from edgesr.ops import Constant, Op
from edgesr.quantized import QuantizedGraph, QuantParams, float_graph
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.drift import describe_drift
from edgesr.runtime.runner import TracingRunner
from edgesr.runtime.span import Span, measure_span
from edgesr.runtime.tolerance import FLOAT_TOLERANCES, INTEGER_TOLERANCES
from edgesr.runtime.torch_runner import GraphRunner, to_nchw, to_nhwc
from edgesr.target import Layout, Precision

INPUT_EDGE, OUTPUT_EDGE = "input edge", "output edge"


@dataclass(frozen=True)
class OperatorRow:
    """One operator on one runner: its own error and the error accumulated so far.

    `max_lsb` counts integer steps (INT8 only), `max_relative` is the largest error over the tensor's largest value, and
    `sqnr_db` compares with the float64 graph. `own_sqnr_db` compares with the float64 operator, its weights unrounded,
    on the runtime's own inputs: what this operator adds, not what it inherits. `why` says what a failed row exceeded.
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
    own_sqnr_db: float
    span: Span | None
    why: str | None

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""
        return self.why is None

    def describe(self) -> str:
        """The row as a phrase, for errors."""
        return f"{self.kind} '{self.operator}' on {self.runner}: {self.why or 'passed'}"


def compare_operators(
    file: str, precision: Precision, network: Graph | QuantizedGraph, runner: TracingRunner, name: str,
    case: ParityCase, contract: IOContract | None = None,
) -> list[OperatorRow]:  # fmt: skip
    """Every operator of the network on one runner, and the file's edges; a tensor that the runner does not show fails.

    The first row is the input edge of an INT8 file that quantizes the image, the last row the output edge. `contract`
    says what the file's image is made of; None means floats, or the last tensor's integers.
    """
    comparison = _Comparison(file, precision, network, name)
    reference = GraphRunner(comparison.graph).trace(case.image)
    tensors = by_graph_names(network, runner.trace(case.image), case)
    rows = comparison.input_edge(tensors, case, reference)
    for op in comparison.graph:
        if not isinstance(op, Constant):
            rows.append(comparison.operator(op, tensors, reference[op.name]))
    rows.append(comparison.output_edge(tensors, runner.run(case.image), reference, contract))
    return rows


def by_graph_names(
    network: Graph | QuantizedGraph, tensors: Mapping[str, np.ndarray], case: ParityCase
) -> dict[str, np.ndarray]:
    """What a runner shows, the image where it does not show the graph's input, and the constants."""
    graph = float_graph(network)

    def as_stored(tensor: str, value: torch.Tensor) -> np.ndarray:
        stored = network.activations[tensor].quantize(value) if isinstance(network, QuantizedGraph) else value
        return stored.numpy()

    named = dict(tensors)
    if graph.output not in named and OUTPUT_NAME in named:
        named[graph.output] = named[OUTPUT_NAME]
    named.setdefault(graph.input.name, as_stored(graph.input.name, torch.from_numpy(case.image)))
    constants = (op for op in graph if isinstance(op, Constant))
    return named | {op.name: as_stored(op.name, op.value.reshape(1, 1, 1, -1)) for op in constants}


def evaluate_unrounded(graph: Graph, op: Op, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """What the float64 operator, its weights and constants unrounded, makes of real inputs (N, C, H, W)."""
    producers = [graph.producer(name) for name in op.inputs]
    pairs = zip(producers, inputs, strict=True)
    return op.evaluate(*(p.evaluate() if isinstance(p, Constant) else x for p, x in pairs))


class _Comparison:
    """One network in one file on one runner."""

    def __init__(self, file: str, precision: Precision, network: Graph | QuantizedGraph, runner: str) -> None:
        self.file = file
        self.precision = precision
        self.quantized = network if isinstance(network, QuantizedGraph) else None
        self.graph = float_graph(network)
        self.runner = runner

    def input_edge(
        self, tensors: Mapping[str, np.ndarray], case: ParityCase, reference: Mapping[str, np.ndarray]
    ) -> list[OperatorRow]:
        """The quantized image against exact rounding."""
        if self.quantized is None:
            return []
        name = self.graph.input.name
        return [self._row(INPUT_EDGE, "Quantize", name, tensors[name], case.image, case.image, reference[name])]

    def operator(self, op: Op, tensors: Mapping[str, np.ndarray], reference: np.ndarray) -> OperatorRow:
        """One operator's output against exact arithmetic on its inputs."""
        kind = type(op).__name__
        missing = [x for x in (*op.inputs, op.name) if x not in tensors]
        if missing:
            return self._failed(op.name, kind, f"tensor '{missing[0]}' is missing from the file")
        inputs = [self._reals(x, to_nchw(tensors[x], torch.float64)) for x in op.inputs]
        try:
            with torch.no_grad():
                exact = to_nhwc(self._stored_operator(op).evaluate(*inputs))
                unrounded = to_nhwc(evaluate_unrounded(self.graph, op, inputs))
        except RuntimeError as error:  # a file whose tensors have other shapes
            return self._failed(op.name, kind, f"its inputs do not fit: {first_line(error)}")
        return self._row(op.name, kind, op.name, tensors[op.name], exact, unrounded, reference)

    def output_edge(
        self, tensors: Mapping[str, np.ndarray], image: np.ndarray, reference: Mapping[str, np.ndarray],
        contract: IOContract | None,
    ) -> OperatorRow:  # fmt: skip
        """The image that the file itself gives against the last tensor of its traced copy."""
        name = self.graph.output
        if name not in tensors:
            return self._failed(OUTPUT_EDGE, "Output", f"tensor '{name}' is missing from the file")
        found = image
        if self.quantized is not None:
            found = np.rint(image / self.quantized.output.scale + self.quantized.output.zero_point)
        exact = self._reals(name, torch.from_numpy(tensors[name].astype(np.float64))).numpy()
        if self.quantized is None and contract is not None:
            exact = replace(contract, layout=Layout.NHWC).rounded(exact).astype(np.float64)
        return self._row(OUTPUT_EDGE, "Output", name, found, exact, exact, reference[name])

    def _row(
        self, label: str, kind: str, tensor: str, found: np.ndarray, exact: np.ndarray, unrounded: np.ndarray,
        reference: np.ndarray,
    ) -> OperatorRow:  # fmt: skip
        """`found` as stored against the `exact` reals, those of `unrounded` weights, and the graph's."""
        if found.shape != exact.shape:
            return self._failed(label, kind, f"tensor '{tensor}' has shape {found.shape}, expected {exact.shape}")
        found = found.astype(np.float64)
        params = self.quantized.activations[tensor] if self.quantized else None
        if params is None:
            expected, real, peak = exact, found, max(abs(exact).max(), 1e-30)
        else:
            expected = params.quantize(torch.from_numpy(exact)).numpy()
            real = (found - params.zero_point) * params.scale
            peak = max(abs(expected - params.zero_point).max(), 1.0)
        difference = np.abs(found - expected)
        size = norm(expected if params is None else expected - params.zero_point)
        relative, l2 = float(difference.max() / peak), norm(difference) / max(size, 1e-30)
        lsb = None if params is None else round(float(difference.max()))
        why = self._float_excess(relative, l2) if params is None else _integer_excess(found, expected, exact, params)
        share = float(np.mean(difference > 0))
        span = measure_span(reference, found, params, self.quantized.output if self.quantized else None)
        numbers = (relative, l2, lsb, share, sqnr_db(real, reference), sqnr_db(real, unrounded))
        return OperatorRow(self.file, self.runner, label, kind, *numbers, span, why)

    def _failed(self, label: str, kind: str, why: str) -> OperatorRow:
        infinite = float("inf")
        return OperatorRow(self.file, self.runner, label, kind, infinite, infinite, None, 1.0, 0.0, 0.0, None, why)

    def _reals(self, tensor: str, value: torch.Tensor) -> torch.Tensor:
        return self.quantized.activations[tensor].dequantize(value) if self.quantized else value

    def _stored_operator(self, op: Op) -> Op:
        """The operator with its parameters rounded as the file stores them: their rounding is judged end to end."""
        if self.quantized is not None:
            return self.quantized.dequantized_op(op.name)
        if self.precision is not Precision.FP16:
            return op
        return op.with_parameters({field: value.half().double() for field, value in op.parameters().items()})

    def _float_excess(self, relative: float, l2: float) -> str | None:
        tolerance = FLOAT_TOLERANCES[self.precision]
        if not relative <= tolerance.max_abs:
            return f"max error {relative:.2g} of the tensor's peak > {tolerance.max_abs:.2g}"
        return None if l2 <= tolerance.relative_l2 else f"relative L2 {l2:.2g} > {tolerance.relative_l2:.2g}"


def _integer_excess(found: np.ndarray, expected: np.ndarray, exact: np.ndarray, params: QuantParams) -> str | None:
    tolerance = INTEGER_TOLERANCES[params.bits]
    steps, limit = float(np.abs(found - expected).max()), tolerance.max_lsb
    if not steps <= limit:
        return f"{steps:g} LSB from exact integer arithmetic, limit {limit}"
    return describe_drift(found, expected, exact / params.scale + params.zero_point, params.zero_point, tolerance)


def norm(x: np.ndarray) -> float:
    """The Euclidean norm; numpy's own goes through BLAS, whose threads cost more than the sum does."""
    return float(np.sqrt(np.square(x).sum()))


def sqnr_db(found: np.ndarray, reference: np.ndarray) -> float:
    """Signal over error power in dB, at most 200 (where they are equal), 0 where a value is no number."""
    error = float(np.sum((found - reference) ** 2))
    if not np.isfinite(error):
        return 0.0
    return min(200.0, 10 * float(np.log10(max(float(np.sum(reference**2)), 1e-30) / max(error, 1e-30))))
