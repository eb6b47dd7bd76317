"""Does the operator check see small errors, and blame the operator they are in?"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError
from edgesr.export.tflite import emit_tflite
from edgesr.ops import Constant, Convolution
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.operator_parity import OperatorRow, compare_operators, sqnr_db
from edgesr.runtime.runners import open_runner
from edgesr.runtime.torch_runner import GraphRunner, to_nchw, to_nhwc
from edgesr.target import IODtype, Layout, Precision, find_target

INT8_FILES = ["tflite-int8", "onnx-int8"]
C3 = "block_2.c3.conv"


@pytest.fixture(scope="module")
def case(images: list[np.ndarray]) -> ParityCase:
    return ParityCase("natural odd 37x53", images[0][None, :37, :53] / 255)


@pytest.fixture(scope="module")
def rows(case: ParityCase) -> Callable[..., list[OperatorRow]]:
    def compare(exported: Any, runner: str | None = None) -> list[OperatorRow]:
        opened = open_runner(runner or exported.target.runners[0], exported.target, exported.path, exported.contract)
        return compare_operators("f", exported.target.precision, exported.graph, opened, opened.name, case)

    return compare


@pytest.fixture
def blamed(rows: Callable[..., list[OperatorRow]]) -> Callable[[Any], set[str]]:
    def names(exported: Any) -> set[str]:
        try:
            return {row.operator for row in rows(exported) if not row.passed}
        except ArtifactError:
            return {"load or run"}

    return names


def beside(network: QuantizedGraph, tensor: str) -> set[str]:
    """Who makes a tensor and who reads it."""
    return {tensor, *(op.name for op in network.graph.consumers[tensor])} - {network.graph.input.name}


@pytest.mark.parametrize("name", INT8_FILES)
@pytest.mark.parametrize("error", [1.02, 0.98, "zero point"])
def test_every_wrong_activation_is_caught_where_it_is(
    name: str, error: float | str, export: Any, tampered: Any, blamed: Any, small: Any
) -> None:
    """Each tensor of the graph: its scale 2 % off, or its zero point off by one."""
    network = small.quantized
    exported = export(name)
    refused = set()
    for tensor in network.graph.specs:

        def seed(file: Any, tensor: str = tensor) -> None:
            file.move_zero_point(tensor, 1) if isinstance(error, str) else file.scale_activation(tensor, error)

        found = blamed(tampered(exported, seed))
        if found == {"load or run"}:
            refused.add(tensor)
        else:
            assert found and found <= beside(network, tensor), tensor
    # LiteRT itself refuses concat and shuffle between grids, our runner edges that are not the contract's
    movers = {"input", "conv_near", "block_2.mul", "cat", "pointwise_conv", "pixel_shuffle"}
    assert refused == (movers if name == "tflite-int8" else set())


@pytest.mark.parametrize("name", INT8_FILES)
def test_a_step_is_too_coarse_a_measure(name: str, export: Any, tampered: Any, rows: Any, small: Any) -> None:
    """Why the check looks for drift: every value lies within a step of exact arithmetic, and yet a bias is wrong."""
    op = "block_2.guidance_map_conv"
    step = small.quantized.weights[op].scales * small.quantized.activations[C3].scale
    half = (0.5 * small.quantized.activations[op].scale / step).round().numpy()
    wrong = {row.operator: row for row in rows(tampered(export(name), lambda file: file.move_bias(op, half)))}
    assert [row.operator for row in wrong.values() if not row.passed] == [op]
    assert wrong[op].max_lsb == 1
    assert ", shift +0.5" in wrong[op].why or ", shift +0.4" in wrong[op].why


@pytest.mark.parametrize("name", INT8_FILES)
def test_what_kernels_may_do_passes(name: str, export: Any, tampered: Any, rows: Any) -> None:
    """A scale 0.4 % off, as a multiplier of eight bits is."""
    tensor = "block_1.c2.conv"
    wrong = {
        row.operator: row for row in rows(tampered(export(name), lambda file: file.scale_activation(tensor, 1.004)))
    }
    assert wrong[tensor].max_lsb == 1
    assert wrong[tensor].why is None


def changed_share(network: QuantizedGraph, op: Convolution, row: int, inputs: list[np.ndarray], factor: float) -> float:
    """In how many values of its channel a wrong weight scale shows at all, computed from the graph alone."""
    w = network.weights[op.name]
    scales = w.scales.clone()
    scales[row] *= factor
    wrong = dataclasses.replace(network, weights={**network.weights, op.name: dataclasses.replace(w, scales=scales)})
    integers = [to_nchw(x, torch.float64) for x in inputs]
    right_values, wrong_values = (n.evaluate_integers(op, *integers)[:, row] for n in (network, wrong))
    return float((right_values != wrong_values).double().mean())


@pytest.mark.parametrize("name", INT8_FILES)
def test_wrong_weight_scales_are_caught_wherever_they_show(
    name: str, export: Any, tampered: Any, blamed: Any, small: Any, case: ParityCase
) -> None:
    """A channel's weight scale 5 % off changes nothing where the channel is dead, and is caught where it is not."""
    network: QuantizedGraph = small.quantized
    exported = export(name)
    runner = open_runner(exported.target.runners[0], exported.target, exported.path, exported.contract)
    tensors = dict(runner.trace(case.image))
    tensors["input"] = network.input.quantize(torch.from_numpy(case.image)).numpy()
    visible = 0
    for op in (op for op in network.graph if isinstance(op, Convolution)):
        for row in range(0, op.weight.shape[0], 3):
            share = changed_share(network, op, row, [tensors[op.inputs[0]]], 1.05)
            found = blamed(tampered(exported, lambda file, op=op, row=row: file.scale_row(op.name, row, 1.05)))
            assert found <= {op.name}, "and nothing else is blamed"
            assert found or share < 0.05, f"{op.name}, row {row}"
            visible += share >= 0.05
    assert visible >= 20


@pytest.mark.parametrize("name", ["tflite-fp32", "onnx-fp32"])
def test_one_weight_a_percent_wrong_is_caught_in_every_convolution(
    name: str, export: Any, tampered: Any, blamed: Any, small: Any
) -> None:
    """Float: of each convolution, the one weight of median size."""
    for op in small.graph:
        if isinstance(op, Convolution):
            wrong = tampered(export(name), lambda file, op=op: file.scale_weight(op.name, 1.01))
            assert blamed(wrong) == {op.name}


@pytest.mark.parametrize("name", ["tflite-fp32", "onnx-fp32"])
def test_a_bias_a_little_off_is_caught(name: str, export: Any, tampered: Any, blamed: Any) -> None:
    op = "block_2.guidance_map_conv"
    assert blamed(tampered(export(name), lambda file: file.move_bias(op, 0.01))) == {op}


@pytest.mark.parametrize("layout", Layout)
def test_the_input_edge_is_its_own_row(layout: Layout, export: Any, tampered: Any, rows: Any) -> None:
    """With a float image, the file's own QuantizeLinear makes the integers."""
    exported = export("onnx-int8", IODtype.FLOAT32, layout)
    assert all(row.passed for row in rows(exported))
    wrong = rows(tampered(exported, lambda file: file.scale_activation("input", 1.02)))
    assert {row.operator for row in wrong if not row.passed} == {"input edge", "conv_near", "block_1.c1.conv"}


@pytest.mark.parametrize("io", IODtype)
@pytest.mark.parametrize("name", INT8_FILES)
def test_every_image_type_passes(name: str, io: IODtype, export: Any, rows: Any, small: Any) -> None:
    report = rows(export(name, io))
    assert [row.why for row in report] == [None] * (len(small.graph.ops) + 2)
    assert [report[0].operator, report[-1].operator] == ["input edge", "output edge"]


class Altered:
    """A runner whose trace or answer is changed on the way."""

    def __init__(
        self,
        runner: Any,
        trace: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]] = dict,
        answer: Callable[[np.ndarray], np.ndarray] = np.asarray,
    ) -> None:
        self.name, self.runner, self.change, self.answer = runner.name, runner, trace, answer

    def run(self, image: np.ndarray) -> np.ndarray:
        return self.answer(self.runner.run(image))

    def trace(self, image: np.ndarray) -> Mapping[str, np.ndarray]:
        return self.change(dict(self.runner.trace(image)))


def failures(exported: Any, case: ParityCase, **changes: Any) -> dict[str, str | None]:
    runner = open_runner(exported.target.runners[0], exported.target, exported.path, exported.contract)
    altered = Altered(runner, **changes)
    found = compare_operators("f", exported.target.precision, exported.graph, altered, "altered", case)
    assert {row.runner for row in found} == {"altered"}
    return {row.operator: row.why for row in found if not row.passed}


@pytest.mark.parametrize("name", ["tflite-fp32", "tflite-fp16", "tflite-int8", "onnx-fp32", "onnx-fp16", "onnx-int8"])
def test_what_is_not_shown_fails(name: str, export: Any, case: ParityCase) -> None:
    exported = export(name)
    assert failures(exported, case) == {}
    why = failures(exported, case, trace=lambda t: {n: x for n, x in t.items() if n != C3})
    assert set(why) == {C3, "block_2.add", "block_2.guidance_map_conv"}
    assert set(why.values()) == {f"tensor '{C3}' is missing from the file"}
    why = failures(exported, case, trace=lambda t: t | {C3: t[C3][:, 1:]})
    assert why[C3] == f"tensor '{C3}' has shape (1, 36, 53, 8), expected (1, 37, 53, 8)"
    assert why["block_2.add"] is not None and why["block_2.add"].startswith("its inputs do not fit: ")
    last = "pixel_shuffle"
    missing = failures(exported, case, trace=lambda t: {n: x for n, x in t.items() if n not in (last, "output")})
    assert set(missing) == {last, "output edge"}


@pytest.mark.parametrize("name", ["tflite-fp32", "tflite-int8", "onnx-fp16", "onnx-int8"])
def test_a_traced_copy_that_computes_something_else_proves_nothing(name: str, export: Any, case: ParityCase) -> None:
    """The output edge compares what the file itself answers with the trace."""
    assert set(failures(export(name), case, answer=lambda y: np.roll(y, 1, axis=2))) == {"output edge"}
    assert set(failures(export(name), case, answer=lambda y: y[..., ::-1])) == {"output edge"}
    assert set(failures(export(name), case, answer=lambda y: y[:, 1:])) == {"output edge"}


def test_values_that_are_no_numbers_fail(export: Any, case: ParityCase) -> None:
    for name in ("tflite-fp32", "onnx-fp16"):
        why = failures(export(name), case, trace=lambda t: t | {"block_2.mul": t["block_2.mul"] * np.nan})
        assert set(why) == {"block_2.mul", "cat"}


def test_graphs_prove_themselves_exactly(small: Any, case: ParityCase) -> None:
    found = compare_operators("f", Precision.FP32, small.graph, GraphRunner(small.graph), "graph", case)
    assert len(found) == len(small.graph.ops) + 1
    assert {(row.max_relative, row.relative_l2, row.max_lsb, row.sqnr_db, row.why) for row in found} == {
        (0.0, 0.0, None, 200.0, None)
    }


class Integers:
    """Exact integer arithmetic as a runner."""

    name = "integers"

    def __init__(self, network: QuantizedGraph) -> None:
        self.network = network

    def trace(self, image: np.ndarray) -> Mapping[str, np.ndarray]:
        values = {"input": self.network.input.quantize(to_nchw(image, torch.float64))}
        for op in self.network.graph:
            values[op.name] = self.network.evaluate_integers(op, *(values[name] for name in op.inputs))
        return {name: to_nhwc(value) for name, value in values.items()}

    def run(self, image: np.ndarray) -> np.ndarray:
        return to_nhwc(self.network.execute(to_nchw(image, torch.float64)))


def test_exact_integers_pass_exactly(small: Any, case: ParityCase) -> None:
    found = compare_operators("f", Precision.INT8, small.quantized, Integers(small.quantized), "integers", case)
    assert {(row.max_lsb, row.differing_share, row.why) for row in found} == {(0, 0.0, None)}
    sqnr = {row.operator: row.sqnr_db for row in found}
    assert 30 < sqnr["conv_near"] < 60, "rounding accumulates"
    assert sqnr["input edge"] > 60 > sqnr["pixel_shuffle"]


@pytest.mark.parametrize("kind", ["add", "sub", "mul"])
@pytest.mark.parametrize("precision", Precision)
def test_constants_are_operands_and_no_rows(
    kind: str, precision: Precision, operator_cases: Mapping[str, Any], tmp_path: Path
) -> None:
    case = operator_cases[f"{kind}-constants"]
    target = find_target(f"tflite-{precision.value}")
    assert target is not None
    network = case.quantized if precision.is_integer else case.graph
    if precision.is_integer:
        network = case.quantize_with_image_edges()
    io = IODtype.INT8 if precision.is_integer else IODtype.FLOAT32
    path = tmp_path / "constants.tflite"
    path.write_bytes(emit_tflite(network, precision, io, [case.size], {}))
    contract = IOContract(io, Layout.NHWC, 4, 1, 1.0, (case.size,), True)
    runner = open_runner("litert-xnnpack", target, path, contract)
    image = ParityCase("natural", to_nhwc(case.image().clamp(0, 1)))
    found = compare_operators("f", precision, network, runner, "litert-xnnpack", image)
    assert [row.operator for row in found if "edge" not in row.operator] == ["y"]
    assert [row.why for row in found] == [None] * len(found)
    assert not any(isinstance(op, Constant) and op.name in {row.operator for row in found} for op in case.ops)


def test_sqnr_is_signal_over_error() -> None:
    reference = np.full((1, 10, 10, 3), 2.0)
    assert sqnr_db(reference * 1.01, reference) == pytest.approx(40.0)
    assert sqnr_db(reference, reference) == 200.0
    assert sqnr_db(np.zeros_like(reference), reference) == pytest.approx(0.0)
