"""Every operator's ONNX form, alone in a file, in ONNX Runtime."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import onnxsim
import pytest
import torch
from torch import Tensor

from edgesr.errors import ExportError
from edgesr.export.onnx import emit_onnx
from edgesr.export.onnx_ops import EMITTERS
from edgesr.graph import Graph
from edgesr.ops import VOCABULARY, Clip, Conv2d, Convolution, DepthToSpace, Relu, Requantize, TensorSpec, Unary
from edgesr.quantized import QuantizedGraph, QuantParams
from edgesr.target import IODtype, Layout, Precision

FLOAT, UINT8, INT8 = IODtype.FLOAT32, IODtype.UINT8, IODtype.INT8
ROUNDING = 2e-6  # of the largest output: sums of up to 100 float32 products, each rounded by 6e-8 of its size
HALF_ROUNDING = 4e-3  # the image, the weights' products and the output each rounded by 2^-11, three operators deep

layouts = pytest.mark.parametrize("layout", Layout)


def arranged(x: Tensor, layout: Layout) -> np.ndarray:
    return np.ascontiguousarray((x.permute(0, 2, 3, 1) if layout is Layout.NHWC else x).numpy())


def run(content: bytes, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    y: np.ndarray = session.run(["output"], {"image": x})[0]
    return y


def emitted(case: Any, precision: Precision, io: IODtype, layout: Layout, size: tuple[int, int] | None = None) -> bytes:
    network = case.quantized if precision.is_integer else case.graph
    return emit_onnx(network, precision, io, layout, size, {})


def rounded_to_half(graph: Graph) -> Graph:
    return graph.with_parameters({key: value.half().double() for key, value in graph.parameters().items()})


def test_every_operator_of_the_vocabulary_is_tested(operator_cases: Mapping[str, Any]) -> None:
    tested = {type(op) for case in operator_cases.values() for op in case.ops}
    assert set(EMITTERS) == set(VOCABULARY) == tested | {Requantize}, "test_sixteen_bits tests Requantize"


@layouts
def test_float_equals_float64_at_any_size_and_batch(operator_case: Any, layout: Layout) -> None:
    content = emitted(operator_case, Precision.FP32, FLOAT, layout)
    for size, batch in ((operator_case.size, 1), ((13 * operator_case.multiple, 6 * operator_case.multiple), 2)):
        x = operator_case.image(size, batch).float()
        expected = arranged(operator_case.graph.execute(x.double()), layout)
        found = run(content, arranged(x, layout))
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert np.abs(found - expected).max() <= ROUNDING * np.abs(expected).max()


def test_float_of_fixed_size(operator_cases: Mapping[str, Any]) -> None:
    shrinking = {"conv-unpadded", "conv-padded-unevenly", "conv-even-kernel"}  # capture refuses such whole networks
    for case in (case for name, case in operator_cases.items() if name not in shrinking):
        content = emitted(case, Precision.FP32, FLOAT, Layout.NCHW, case.size)
        x = case.image().float()
        expected = case.graph.execute(x.double()).numpy()
        assert np.abs(run(content, x.numpy()) - expected).max() <= ROUNDING * np.abs(expected).max(), case.name
        shape = [d.dim_value for d in onnx.load_from_string(content).graph.input[0].type.tensor_type.shape.dim]
        assert shape == [1, 4, *case.size]


@layouts
def test_half_precision(operator_case: Any, layout: Layout) -> None:
    x = operator_case.image()
    expected = arranged(rounded_to_half(operator_case.graph).execute(x.half().double()), layout)
    found = run(emitted(operator_case, Precision.FP16, FLOAT, layout), arranged(x.float(), layout))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= HALF_ROUNDING * np.abs(expected).max()


@pytest.mark.parametrize("io", [UINT8, INT8])
@layouts
def test_int8_is_within_a_step_of_exact_integers(integer_case: Any, io: IODtype, layout: Layout) -> None:
    integers, expected = integer_case.integers(batch=2)
    offset, dtype = (0, np.int8) if io is INT8 else (128, np.uint8)
    found = run(emitted(integer_case, Precision.INT8, io, layout), arranged(integers + offset, layout).astype(dtype))
    difference = np.abs(found.astype(np.float64) - offset - arranged(expected, layout))
    assert found.dtype == dtype and found.shape == difference.shape
    assert difference.max() <= 1
    assert np.mean(difference > 0) <= 0.02, "an honest kernel rounds few values the other way"
    assert len(np.unique(found)) > 4, "the comparison must not be one of saturated values"


def test_int8_with_a_float_image(integer_case: Any) -> None:
    quantized: QuantizedGraph = integer_case.quantized
    integers, expected = integer_case.integers()
    x = quantized.input.dequantize(integers).float().numpy()
    found = run(emitted(integer_case, Precision.INT8, FLOAT, Layout.NCHW), x)
    assert np.abs(found - quantized.output.dequantize(expected).numpy()).max() <= 1.001 * quantized.output.scale


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
@layouts
def test_onnxsim_finds_nothing_to_remove(operator_case: Any, precision: Precision, layout: Layout) -> None:
    model = onnx.load_from_string(emitted(operator_case, precision, FLOAT, layout))
    simplified, valid = onnxsim.simplify(model)
    assert valid
    assert sorted(n.op_type for n in simplified.graph.node) == sorted(n.op_type for n in model.graph.node)


def test_every_convolution_has_integer_weights(integer_case: Any) -> None:
    graph = onnx.load_from_string(emitted(integer_case, Precision.INT8, UINT8, Layout.NCHW)).graph
    types = {x.name: x.data_type for x in graph.initializer}
    for op in integer_case.ops:
        if isinstance(op, Convolution):
            assert types[f"{op.name}.weight"] == onnx.TensorProto.INT8
            assert (f"{op.name}.bias" in types) == (op.bias is not None)
            assert types.get(f"{op.name}.bias", onnx.TensorProto.INT32) == onnx.TensorProto.INT32


def graph(*ops: Any, channels: int = 4) -> Graph:
    return Graph("test", TensorSpec("x", channels), ops, ops[-1].name)


class Unknown(Unary):
    def evaluate(self, *inputs: Tensor) -> Tensor:
        return inputs[0]


def test_onnx_has_what_tflite_has_not() -> None:
    """Grouped convolutions and PyTorch's own channel order."""
    weight = torch.randn(4, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    grouped = Conv2d(name="g", inputs=("x",), weight=weight, groups=2, padding=(1, 1))
    network = graph(grouped, DepthToSpace(name="s", inputs=("g",), block=2))
    x = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(1))
    expected = network.execute(x.double()).numpy()
    found = run(emit_onnx(network, Precision.FP32, FLOAT, Layout.NCHW, None, {}), x.numpy())
    assert np.abs(found - expected).max() <= ROUNDING * np.abs(expected).max()


A = QuantParams(0.1, 3)


def test_refusals() -> None:
    relu = graph(Relu(name="r", inputs=("x",)))
    clip = QuantizedGraph(graph(Clip(name="c", inputs=("x",), low=0, high=1)), {"x": A, "c": A}, {})
    quantized = QuantizedGraph(relu, {"x": A, "r": A}, {})
    unknown = graph(Unknown(name="u", inputs=("x",)))
    refused = (
        (unknown, Precision.FP32, "Unknown 'u' has no ONNX form"),
        (clip, Precision.INT8, "Clip 'c' inside an INT8 graph"),
        (relu, Precision.INT8, "ONNX int8 needs a quantized graph"),
        (quantized, Precision.FP32, "ONNX fp32 needs a float graph"),
        (quantized, Precision.FP16, "ONNX fp16 needs a float graph"),
    )
    for network, precision, message in refused:
        with pytest.raises(ExportError, match=f"^{message}"):
            emit_onnx(network, precision, UINT8 if precision.is_integer else FLOAT, Layout.NCHW, None, {})


@pytest.mark.parametrize("name", ["image", "output"])
def test_refuses_operators_named_like_the_edges(name: str) -> None:
    with pytest.raises(ExportError, match=f"'{name}' is the name of the file's own edge; rename that module"):
        emit_onnx(graph(Relu(name=name, inputs=("x",))), Precision.FP32, FLOAT, Layout.NHWC, None, {})
