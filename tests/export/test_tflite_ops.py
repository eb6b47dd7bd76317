"""Every operator's TFLite form, alone in a file, in LiteRT's XNNPACK and reference kernels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from torch import Tensor

from edgesr.errors import ExportError
from edgesr.export.tflite import emit_tflite, is_resizable
from edgesr.export.tflite_ops import EMITTERS
from edgesr.graph import Graph
from edgesr.ops import (
    VOCABULARY,
    Clip,
    Concat,
    Conv2d,
    Convolution,
    DepthToSpace,
    MaxPool,
    Relu,
    Requantize,
    ResizeNearest,
    ShuffleOrder,
    Sigmoid,
    Slice,
    TensorSpec,
    Unary,
)
from edgesr.quantized import QuantizedGraph, QuantParams
from edgesr.target import IODtype, Precision

FLOAT, INT8 = IODtype.FLOAT32, IODtype.INT8
KERNELS = {"xnnpack": OpResolverType.AUTO, "reference": OpResolverType.BUILTIN_REF}
ROUNDING = 2e-6  # of the largest output: sums of up to 100 float32 products, each rounded by 6e-8 of its size

kernels = pytest.mark.parametrize("kernels", KERNELS)


def nhwc(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())


def opened(content: bytes, kernels: str) -> Interpreter:
    return Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=KERNELS[kernels])


def run(content: bytes, x: np.ndarray, kernels: str) -> np.ndarray:
    interpreter = opened(content, kernels)
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if tuple(source["shape"]) != x.shape:
        interpreter.resize_tensor_input(source["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], x)
    interpreter.invoke()
    y: np.ndarray = interpreter.get_tensor(result["index"])
    return y


def float_file(case: Any, precision: Precision = Precision.FP32) -> bytes:
    return emit_tflite(case.graph, precision, FLOAT, [case.size], {})


def int8_file(case: Any) -> bytes:
    return emit_tflite(case.quantized, Precision.INT8, INT8, [case.size], {})


def operators(content: bytes) -> list[str]:
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    return [names[model.operatorCodes[o.opcodeIndex].builtinCode] for o in model.subgraphs[0].operators]


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert np.abs(found - expected).max() <= ROUNDING * np.abs(expected).max()


def test_every_operator_of_the_vocabulary_is_tested(operator_cases: dict[str, Any]) -> None:
    tested = {type(op) for case in operator_cases.values() for op in case.ops}
    assert set(EMITTERS) == set(VOCABULARY) == tested | {Requantize}, "test_sixteen_bits tests Requantize"


@kernels
def test_float_equals_float64(operator_case: Any, kernels: str) -> None:
    x = operator_case.image()
    assert_close(
        run(float_file(operator_case), nhwc(x.float()), kernels), nhwc(operator_case.graph.execute(x.float().double()))
    )


@kernels
def test_half_weights_equal_float64_on_those_weights(operator_case: Any, kernels: str) -> None:
    graph: Graph = operator_case.graph
    x = operator_case.image().float().double()
    rounded = graph.with_parameters({key: value.half().double() for key, value in graph.parameters().items()})
    content = float_file(operator_case, Precision.FP16)
    assert_close(run(content, nhwc(x.float()), kernels), nhwc(rounded.execute(x)))
    stored = [2 if isinstance(op, Convolution) else 1 for op in graph if op.parameters()]  # weight and bias, or value
    assert sorted(operators(content)) == sorted(["DEQUANTIZE"] * sum(stored) + operators(float_file(operator_case)))


@kernels
def test_int8_is_within_a_step_of_exact_integers(integer_case: Any, kernels: str) -> None:
    integers, expected = integer_case.integers()
    found = run(int8_file(integer_case), nhwc(integers).astype(np.int8), kernels)
    difference = np.abs(found - nhwc(expected))
    assert found.dtype == np.int8 and found.shape == difference.shape
    assert difference.max() <= 1
    assert np.mean(difference > 0) <= 0.1, "an honest kernel rounds few values the other way"
    assert len(np.unique(found)) > 4, "the comparison must not be one of saturated values"


@kernels
def test_resized_files_compute_the_same(operator_case: Any, kernels: str) -> None:
    """The file for one size, resized to another, equals float64 and exact integers there too."""
    if operator_case.fixed_size:
        assert not is_resizable(operator_case.graph)
        return
    assert is_resizable(operator_case.graph)
    size = (13 * operator_case.multiple, 6 * operator_case.multiple)
    x = operator_case.image(size, batch=2).float()
    assert_close(run(float_file(operator_case), nhwc(x), kernels), nhwc(operator_case.graph.execute(x.double())))


def test_resized_int8_files_compute_the_same(integer_case: Any) -> None:
    if integer_case.fixed_size:
        return
    integers, expected = integer_case.integers((13 * integer_case.multiple, 6 * integer_case.multiple))
    found = run(int8_file(integer_case), nhwc(integers).astype(np.int8), "xnnpack")
    assert np.abs(found - nhwc(expected)).max() <= 1


@pytest.mark.parametrize("emit", [float_file, int8_file])
def test_stored_shapes_are_those_that_the_runtime_computes(integer_case: Any, emit: Callable[[Any], bytes]) -> None:
    content = emit(integer_case)
    interpreter = opened(content, "reference")
    interpreter.allocate_tensors()
    stored = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0].tensors
    for index, tensor in enumerate(stored):
        assert list(tensor.shape) == list(interpreter.get_tensor_details()[index]["shape"]), tensor.name


FORMS = {
    "conv": ["CONV_2D"],
    "conv-unpadded": ["CONV_2D"],
    "conv-dilated": ["CONV_2D"],
    "conv-relu6": ["CONV_2D"],
    "conv-stride-2": ["PAD", "CONV_2D"],
    "conv-2x2-stride-2": ["CONV_2D"],
    "conv-padded-unevenly": ["PAD", "CONV_2D"],
    "conv-even-kernel": ["PAD", "CONV_2D"],
    "depthwise-multiplier-3": ["DEPTHWISE_CONV_2D"],
    "add-relu": ["STRIDED_SLICE", "STRIDED_SLICE", "ADD"],
    "mul-constants": ["MUL"],
    "clip": ["MAXIMUM", "MINIMUM"],
    "clip-below": ["MAXIMUM"],
    "clip-above": ["MINIMUM"],
    "depth-to-space": ["DEPTH_TO_SPACE"],
    "resize-nearest": ["RESIZE_NEAREST_NEIGHBOR"],
}


@pytest.mark.parametrize("name", FORMS)
def test_no_operator_more_than_needed(name: str, operator_cases: dict[str, Any]) -> None:
    case = operator_cases[name]
    assert operators(float_file(case)) == FORMS[name]
    if not name.startswith("clip"):
        assert operators(int8_file(case)) == FORMS[name]


def graph(*ops: Any, channels: int = 4) -> Graph:
    return Graph("test", TensorSpec("x", channels), ops, ops[-1].name)


def weight(outputs: int, inputs: int) -> Tensor:
    return torch.ones(outputs, inputs, 3, 3, dtype=torch.float64)


class Unknown(Unary):
    def evaluate(self, *inputs: Tensor) -> Tensor:
        return inputs[0]


SHUFFLE = graph(DepthToSpace(name="s", inputs=("x",), block=2))
GROUPED = graph(Conv2d(name="g", inputs=("x",), weight=weight(4, 2), groups=2))
FLOAT_REFUSALS = {
    "DepthToSpace 's' has PyTorch's channel order: run the fold pixel-shuffle-to-depth-to-space": SHUFFLE,
    "Conv2d 'g' has 2 groups; TFLite has none: run the fold densify-grouped-conv": GROUPED,
    "Unknown 'u' has no TFLite form; use an ONNX target": graph(Unknown(name="u", inputs=("x",))),
}


@pytest.mark.parametrize("message", FLOAT_REFUSALS)
def test_refuses_what_tflite_has_not(message: str) -> None:
    with pytest.raises(ExportError, match=f"^{message}$"):
        emit_tflite(FLOAT_REFUSALS[message], Precision.FP32, FLOAT, [(4, 4)], {})


A, B = QuantParams(0.1, 3), QuantParams(0.11, 3)
MOVERS = {
    "s": DepthToSpace(name="s", inputs=("x",), block=2, order=ShuffleOrder.DCR),
    "r": ResizeNearest(name="r", inputs=("x",), factor=2),
    "m": MaxPool(name="m", inputs=("x",), window=2),
    "t": Slice(name="t", inputs=("x",), start=0, stop=2),
    "c": Concat(name="c", inputs=("x", "x")),
}


@pytest.mark.parametrize("name", MOVERS)
@pytest.mark.parametrize("other", [B, QuantParams(0.1, 4)], ids=["scale", "zero-point"])
def test_refuses_to_move_integers_between_grids(name: str, other: QuantParams) -> None:
    network = graph(MOVERS[name])
    with pytest.raises(ExportError, match=f"'{name}' is quantized to .*TFLite moves the integers of 'x' unchanged"):
        emit_tflite(QuantizedGraph(network, {"x": A, name: other}, {}), Precision.INT8, INT8, [(4, 4)], {})
    assert emit_tflite(QuantizedGraph(network, {"x": A, name: A}, {}), Precision.INT8, INT8, [(4, 4)], {})


def test_refuses_a_sigmoid_on_another_grid() -> None:
    network = QuantizedGraph(graph(Sigmoid(name="s", inputs=("x",))), {"x": A, "s": B}, {})
    with pytest.raises(ExportError, match=r"Sigmoid 's' .* scale 0.00390625, zero point -128$"):
        emit_tflite(network, Precision.INT8, INT8, [(4, 4)], {})


def test_refuses_a_clip_in_int8() -> None:
    network = QuantizedGraph(graph(Clip(name="c", inputs=("x",), low=0, high=1)), {"x": A, "c": A}, {})
    with pytest.raises(ExportError, match="Clip 'c' inside an INT8 graph"):
        emit_tflite(network, Precision.INT8, INT8, [(4, 4)], {})


def test_refuses_a_network_of_the_other_kind() -> None:
    network = graph(Relu(name="r", inputs=("x",)))
    quantized = QuantizedGraph(network, {"x": A, "r": A}, {})
    with pytest.raises(ExportError, match="TFLite int8 needs a quantized graph"):
        emit_tflite(network, Precision.INT8, INT8, [(4, 4)], {})
    for precision in (Precision.FP32, Precision.FP16):
        with pytest.raises(ExportError, match=f"TFLite {precision.value} needs a float graph"):
            emit_tflite(quantized, precision, FLOAT, [(4, 4)], {})


def test_refuses_sizes_that_do_not_fit(operator_cases: dict[str, Any]) -> None:
    with pytest.raises(ExportError, match="size 8x9 is no multiple of 2"):
        emit_tflite(operator_cases["conv-stride-2"].graph, Precision.FP32, FLOAT, [(8, 9)], {})
    with pytest.raises(ExportError, match="size 2x5 is too small: "):
        emit_tflite(operator_cases["conv-unpadded"].graph, Precision.FP32, FLOAT, [(2, 5)], {})
