from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesr.errors import ArtifactError
from edgesr.export.npu.file_operator import DType
from edgesr.export.npu.read_onnx import parse_onnx, read_onnx
from edgesr.export.onnx import emit_onnx
from edgesr.target import IODtype, Layout, Precision

FLOAT = TensorProto.FLOAT


def emitted(case: Any, precision: Precision, io: IODtype = IODtype.FLOAT32, fixed: bool = True) -> bytes:
    network = case.quantize_with_image_edges() if precision.is_integer else case.graph
    return emit_onnx(network, precision, io, Layout.NCHW, case.size if fixed else None, {})


def onnx_file(nodes: Sequence[onnx.NodeProto], constants: Mapping[str, np.ndarray] | None = None) -> bytes:
    """A network from x (1, 4, 8, 10) to y."""
    graph = helper.make_graph(
        list(nodes), "g", [helper.make_tensor_value_info("x", FLOAT, [1, 4, 8, 10])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )  # fmt: skip
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


def node(kind: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), ["y"], **attributes)


def test_convolutions_have_the_attributes_of_the_graph(operator_cases: Mapping[str, Any]) -> None:
    (op,) = parse_onnx(emitted(operator_cases["conv-5x3"], Precision.FP32), "x").operators
    assert (op.kind, op.table_kind, op.dtype) == ("Conv", "CONV_2D", DType.FLOAT32)
    a = op.attributes
    assert (a.kernel, a.padding, a.in_channels, a.out_channels, a.groups) == ((5, 3), "SAME", 4, 5, 1)
    assert (a.input_hw, a.output_hw, a.has_bias, a.activation) == ((7, 9), (7, 9), True, "NONE")
    op = parse_onnx(emitted(operator_cases["depthwise-multiplier-3"], Precision.FP32), "x").operators[0]
    assert op.table_kind == "DEPTHWISE_CONV_2D" and op.attributes.depth_multiplier == 3


def test_a_free_size_is_seen(operator_cases: Mapping[str, Any]) -> None:
    (op,) = parse_onnx(emitted(operator_cases["conv"], Precision.FP32, fixed=False), "x").operators
    assert op.is_free and op.attributes.input_hw is None and op.rank == 4


def test_qdq_pairs_are_the_type_of_the_operator_between_them(operator_cases: Mapping[str, Any]) -> None:
    (op,) = parse_onnx(emitted(operator_cases["conv-relu"], Precision.INT8, IODtype.UINT8), "x").operators
    assert (op.table_kind, op.dtype, op.attributes.activation) == ("CONV_2D", DType.UINT8, "RELU")
    assert op.attributes.bias_dtype is DType.INT32
    assert [tensor.dtype for tensor in op.activations] == [DType.UINT8, DType.UINT8]
    assert all(tensor.is_quantized for tensor in op.activations)


def test_conversions_at_the_edges_are_operators(operator_cases: Mapping[str, Any]) -> None:
    ops = parse_onnx(emitted(operator_cases["conv"], Precision.INT8, IODtype.FLOAT32), "x").operators
    assert [(op.table_kind, op.dtype) for op in ops] == [
        ("QUANTIZE", DType.UINT8), ("CONV_2D", DType.UINT8), ("DEQUANTIZE", DType.UINT8),
    ]  # fmt: skip
    assert ops[0].inputs[0].dtype is DType.FLOAT32
    made = {tensor.key for op in ops for tensor in op.outputs} | {ops[0].inputs[0].key}
    assert all(tensor.key in made for op in ops for tensor in op.inputs if not tensor.is_constant)


def test_an_operator_without_integers_behind_it_stays_float() -> None:
    grid = {"s": np.array(0.1, np.float32), "z": np.array(0, np.uint8)}
    data = onnx_file(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["r"]),
            helper.make_node("Sigmoid", ["r"], ["y"]),
        ],
        grid,
    )
    ops = parse_onnx(data, "x").operators
    assert [(op.table_kind, op.dtype.value) for op in ops] == [
        ("QUANTIZE", "uint8"), ("DEQUANTIZE", "uint8"), ("LOGISTIC", "float32"),
    ]  # fmt: skip


def test_requantization_is_one_operator() -> None:
    data = onnx_file(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z8"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z8"], ["r"]),
            helper.make_node("QuantizeLinear", ["r", "s", "z"], ["p"]),
            helper.make_node("DequantizeLinear", ["p", "s", "z"], ["y"]),
        ],
        {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8), "z8": np.array(0, np.uint8)},
    )
    ops = parse_onnx(data, "x").operators
    assert [op.table_kind for op in ops] == ["QUANTIZE", "QUANTIZE", "DEQUANTIZE"]
    assert (ops[1].inputs[0].dtype, ops[1].outputs[0].dtype) == (DType.UINT8, DType.INT8)


@pytest.mark.parametrize(
    ("made", "constants", "kind"),
    [
        (node("Clip", "x", "a", "b"), {"a": 0.0, "b": 6.0}, "RELU6"),
        (node("Clip", "x", "a"), {"a": 0.0}, "RELU"),
        (node("Clip", "x", "a", "b"), {"a": 0.2, "b": 0.7}, "MINIMUM"),
        (node("Clip", "x", "a"), {"a": 0.2}, "MAXIMUM"),
        (node("Softmax", "x", axis=1), {}, "SOFTMAX"),
        (node("DepthToSpace", "x", blocksize=2), {}, "DEPTH_TO_SPACE"),
        (node("Erf", "x"), {}, ""),
    ],
)
def test_nodes_by_the_tables_names(made: onnx.NodeProto, constants: Mapping[str, float], kind: str) -> None:
    arrays = {name: np.array(value, np.float32) for name, value in constants.items()}
    (op,) = parse_onnx(onnx_file([made], arrays), "x").operators
    assert (op.kind, op.table_kind) == (made.op_type, kind)


def test_resizes_by_mode() -> None:
    scales = {"s": np.array([1, 1, 3, 3], np.float32)}
    (op,) = parse_onnx(onnx_file([node("Resize", "x", "", "s", mode="linear")], scales), "x").operators
    assert op.table_kind == "RESIZE_BILINEAR" and op.attributes.half_pixel_centers is True
    assert op.attributes.output_hw == (24, 30)
    (op,) = parse_onnx(onnx_file([node("Resize", "x", "", "s", mode="cubic")], scales), "x").operators
    assert op.table_kind == ""


def test_other_domains_and_compiled_nodes() -> None:
    (op,) = parse_onnx(onnx_file([node("Mine", "x", domain="org.me")]), "x").operators
    assert op.is_custom and op.table_kind == ""
    (op,) = parse_onnx(onnx_file([node("EPContext", "x", domain="com.microsoft")]), "x").operators
    assert op.compiled_for and not op.is_custom


def test_constants_outside_the_file_are_not_opened(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(onnx_file([node("Clip", "x", "a")], {"a": np.array([0.0], np.float32)}))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    (op,) = parse_onnx(bytes(model.SerializeToString()), "x").operators
    assert op.table_kind == "MINIMUM" or op.table_kind == "MAXIMUM"


def test_files_that_are_none(tmp_path: Path, foreign_tflite: bytes) -> None:
    path = tmp_path / "a.onnx"
    for content, words in (
        (b"", "is empty; copy or export it again"),
        (b"\xff" * 64, "is no ONNX file"),
        (b"PK\x03\x04 a zip archive", "is no ONNX file"),
        (foreign_tflite, "holds a TFLite file; rename it to .tflite"),
    ):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match=words) as caught:
            read_onnx(path)
        assert "\n" not in str(caught.value)


def test_cut_and_changed_bytes_end_in_one_line_or_in_operators(operator_cases: Mapping[str, Any]) -> None:
    data = emitted(operator_cases["conv-relu"], Precision.INT8, IODtype.UINT8)
    generator = np.random.default_rng(0)
    refused = 0
    for trial in range(150):
        changed = bytearray(data)
        for position in generator.integers(0, len(data), 1 + trial % 5):
            changed[position] = generator.integers(0, 256)
        try:
            parse_onnx(bytes(changed[: len(data) if trial % 3 else trial * len(data) // 150]), "hostile")
        except ArtifactError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 30
