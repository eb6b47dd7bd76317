"""Is the first divergence found where it was put?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgesr.ops import Constant
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.divergence import Trace, compare_runs
from edgesr.runtime.operator_parity import by_graph_names
from edgesr.runtime.runners import open_runner
from edgesr.runtime.torch_runner import IntegerRunner
from edgesr.target import Precision

C2, C3 = "block_2.c2.conv", "block_2.c3.conv"


@pytest.fixture(scope="module")
def case(images: list[np.ndarray]) -> ParityCase:
    return ParityCase("natural odd 37x53", images[0][None, :37, :53] / 255)


@pytest.fixture(scope="module")
def run(case: ParityCase) -> Callable[..., Trace]:
    def trace(exported: Any, runner: str | None = None) -> Trace:
        opened = open_runner(runner or exported.target.runners[0], exported.target, exported.path, exported.contract)
        named = by_graph_names(exported.graph, opened.trace(case.image), case)
        return Trace(exported.path.name, opened.name, named)

    return trace


@pytest.fixture(scope="module")
def exact(small: Any, case: ParityCase) -> Trace:
    runner = IntegerRunner(small.quantized)
    return Trace("(any)", runner.name, runner.trace(case.image))


def altered(trace: Trace, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Trace:
    return Trace("altered", "altered", {**trace.tensors, name: change(trace.tensors[name])})


def test_a_run_does_not_part_from_itself(small: Any, exact: Trace) -> None:
    (row,) = compare_runs(small.quantized, Precision.INT8, [exact, exact])
    assert (row.at_all, row.beyond_limit) == (None, None)
    assert row.tensors == len(exact.tensors) - sum(isinstance(op, Constant) for op in small.graph)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_wrong_output_is_named(steps: int, small: Any, exact: Trace) -> None:
    """Seeded: one value of one tensor, by one step, which is allowed, or by two."""

    def change(tensor: np.ndarray) -> np.ndarray:
        changed = tensor.astype(np.int16)
        changed[0, 5, 7, 3] += steps
        return changed

    (row,) = compare_runs(small.quantized, Precision.INT8, [exact, altered(exact, C2, change)])
    assert row.at_all is not None and (row.at_all.operator, row.at_all.kind) == (C2, "Conv2d")
    assert row.at_all.largest == steps and row.at_all.differing_share == 1 / exact.tensors[C2].size
    assert (row.beyond_limit == row.at_all) if steps == 2 else (row.beyond_limit is None)


@pytest.mark.parametrize("name", ["tflite-int8", "onnx-int8"])
def test_a_wrong_operator_in_a_file_is_named(
    name: str, export: Any, tampered: Any, run: Callable[..., Trace], small: Any, exact: Trace
) -> None:
    """Seeded: two output channels of a convolution exchanged. All that follows differs, and the first one is named."""
    wrong = run(tampered(export(name), lambda file: file.swap(C3, 3, 7)))
    (row,) = compare_runs(small.quantized, Precision.INT8, [run(export(name)), wrong])
    assert row.at_all is not None and row.at_all.operator == C3 and row.at_all.largest > 1
    assert row.beyond_limit == row.at_all
    (row,) = compare_runs(small.quantized, Precision.INT8, [exact, wrong])
    assert row.beyond_limit is not None and row.beyond_limit.operator == C3


def test_formats_agree_operator_by_operator(export: Any, run: Callable[..., Trace], small: Any, exact: Trace) -> None:
    """One quantized graph in TFLite and ONNX: where they part first, they do so by a step, in few values."""
    tflite, reference = export("tflite-int8"), run(export("tflite-int8"), "litert-reference")
    traces = [exact, run(tflite), reference, run(export("onnx-int8"))]
    rows = compare_runs(small.quantized, Precision.INT8, traces)
    assert len(rows) == 6 and all(row.in_steps for row in rows)
    assert {row.tensors for row in rows} == {len(small.graph.specs)}
    for row in rows:
        assert row.at_all is None or (row.at_all.largest == 1 and row.at_all.differing_share < 0.01)


def test_float_files_are_compared_relative_to_the_peak(
    export: Any, tampered: Any, run: Callable[..., Trace], small: Any
) -> None:
    sound, wrong = export("onnx-fp32"), tampered(export("onnx-fp32"), lambda file: file.scale_weight(C2, 1.01))
    (row,) = compare_runs(small.graph, Precision.FP32, [run(sound), run(wrong)])
    assert not row.in_steps and row.at_all is not None and row.at_all.operator == C2
    assert row.beyond_limit is not None and row.beyond_limit.operator == C2 and row.beyond_limit.largest < 0.1
    (row,) = compare_runs(small.graph, Precision.FP32, [run(sound), run(export("tflite-fp32"))])
    assert row.beyond_limit is None


def test_missing_and_misshapen_tensors(small: Any, exact: Trace) -> None:
    without = Trace("f", "r", {name: tensor for name, tensor in exact.tensors.items() if name != C2})
    (row,) = compare_runs(small.quantized, Precision.INT8, [exact, without])
    assert row.at_all is None and row.tensors == len(small.graph.specs) - 1
    (row,) = compare_runs(small.quantized, Precision.INT8, [exact, altered(exact, C2, lambda t: t[:, 1:])])
    assert row.beyond_limit is not None and row.beyond_limit.largest == float("inf")


def test_values_that_are_no_numbers_are_a_divergence(small: Any, export: Any, run: Callable[..., Trace]) -> None:
    trace = run(export("onnx-fp32"))
    (row,) = compare_runs(small.graph, Precision.FP32, [trace, altered(trace, C3, lambda t: t * np.nan)])
    assert row.beyond_limit is not None
    assert (row.beyond_limit.operator, row.beyond_limit.largest) == (C3, float("inf"))
