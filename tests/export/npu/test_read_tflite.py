import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema

from edgesr.errors import ArtifactError
from edgesr.export.npu.file_operator import DType
from edgesr.export.npu.read_tflite import _Reader, parse_tflite, read_tflite
from edgesr.export.tflite import emit_tflite
from edgesr.export.tflite_builder import ModelBuilder
from edgesr.target import Format, IODtype, Precision


def emitted(case: Any, precision: Precision = Precision.FP32, io: IODtype = IODtype.FLOAT32) -> bytes:
    network = case.quantize_with_image_edges() if precision.is_integer else case.graph
    return emit_tflite(network, precision, io, [case.size], {})


def test_convolutions_have_the_attributes_of_the_graph(operator_cases: Mapping[str, Any]) -> None:
    (op,) = parse_tflite(emitted(operator_cases["conv-5x3"]), "x").operators
    assert (op.kind, op.table_kind, op.name, op.dtype) == ("CONV_2D", "CONV_2D", "y", DType.FLOAT32)
    a = op.attributes
    assert (a.kernel, a.stride, a.dilation, a.padding) == ((5, 3), (1, 1), (1, 1), "SAME")
    assert (a.in_channels, a.out_channels, a.groups, a.input_hw, a.output_hw) == (4, 5, 1, (7, 9), (7, 9))
    assert a.has_bias and a.bias_dtype is DType.FLOAT32 and a.activation == "NONE"
    (op,) = parse_tflite(emitted(operator_cases["conv-relu6"]), "x").operators
    assert op.attributes.activation == "RELU6"


def test_strided_convolutions_are_a_pad_and_a_valid_convolution(operator_cases: Mapping[str, Any]) -> None:
    pad, conv = parse_tflite(emitted(operator_cases["conv-stride-2"]), "x").operators
    assert pad.kind == "PAD" and conv.attributes.padding == "VALID" and conv.attributes.stride == (2, 2)
    assert pad.outputs[0].key == conv.inputs[0].key


def test_depthwise_multipliers_are_known(operator_cases: Mapping[str, Any]) -> None:
    op = parse_tflite(emitted(operator_cases["depthwise-multiplier-3"]), "x").operators[-1]
    assert op.kind == "DEPTHWISE_CONV_2D" and op.attributes.depth_multiplier == 3 and op.attributes.groups == 4


def test_shuffles_resizes_and_slices(operator_cases: Mapping[str, Any]) -> None:
    (op,) = parse_tflite(emitted(operator_cases["depth-to-space"]), "x").operators
    assert op.attributes.block == 2
    (op,) = parse_tflite(emitted(operator_cases["resize-nearest"]), "x").operators
    assert (op.attributes.mode, op.attributes.output_hw, op.attributes.align_corners) == ("nearest", (21, 27), False)
    (op,) = parse_tflite(emitted(operator_cases["slice"]), "x").operators
    assert (op.attributes.strides, op.attributes.ellipsis_mask, op.attributes.offset) == ((1, 1, 1, 1), 0, False)


def test_integer_files_have_integer_operators_and_conversions(operator_cases: Mapping[str, Any]) -> None:
    read = parse_tflite(emitted(operator_cases["conv-relu"], Precision.INT8, IODtype.UINT8), "x")
    kinds = [(op.kind, op.dtype) for op in read.operators]
    assert kinds == [("QUANTIZE", DType.INT8), ("CONV_2D", DType.INT8), ("QUANTIZE", DType.UINT8)]
    assert all(tensor.is_quantized for op in read.operators for tensor in op.activations)
    read = parse_tflite(emitted(operator_cases["conv"], Precision.INT8, IODtype.FLOAT32), "x")
    assert read.operators[-1].kind == "DEQUANTIZE" and read.operators[-1].dtype is DType.INT8


def test_a_foreign_network_is_read(foreign_tflite: bytes) -> None:
    read = parse_tflite(foreign_tflite, "foreign")
    assert read.format is Format.TFLITE and read.input_rank == 4
    kinds = "LOGISTIC MUL LEAKY_RELU RESIZE_BILINEAR RESHAPE TRANSPOSE RESHAPE"
    assert [op.kind for op in read.operators] == kinds.split()
    assert [op.rank for op in read.operators] == [4, 4, 4, 4, 6, 6, 6]
    assert read.operators[5].attributes.permutation == (0, 1, 4, 2, 5, 3)
    assert read.operators[3].attributes.half_pixel_centers is True


def test_several_sizes_are_one_network(operator_cases: Mapping[str, Any]) -> None:
    data = emit_tflite(operator_cases["conv"].graph, Precision.FP32, IODtype.FLOAT32, [(7, 9), (8, 8)], {})
    read = parse_tflite(data, "x")
    assert len(read.operators) == 1 and read.notes == ("the first of 2 subgraphs is audited",)


def one_operator(builtin: int, custom: bytes | None = None) -> bytes:
    model = ModelBuilder("one")
    graph = model.subgraph("main")
    x, y = (graph.tensor("same", (1, 4, 4, 2), "float32") for _ in range(2))
    graph.operator(builtin, 1, [x], [y])
    graph.finish([x], [y])
    model._model.operatorCodes[0].customCode = custom
    return model.serialize()


def test_custom_and_unknown_operators_are_named() -> None:
    (op,) = parse_tflite(one_operator(schema.BuiltinOperator.CUSTOM, b"My\x07Op"), "x").operators
    assert op.is_custom and op.kind == "CUSTOM My?Op" and op.table_kind == "" and not op.compiled_for
    (op,) = parse_tflite(one_operator(schema.BuiltinOperator.CUSTOM, b"ethos-u"), "x").operators
    assert op.compiled_for == "Arm's Vela"
    (op,) = parse_tflite(one_operator(9999), "x").operators
    assert (op.kind, op.table_kind, op.is_custom) == ("BUILTIN_9999", "", False)


def test_tensors_of_one_name_are_told_apart() -> None:
    (op,) = parse_tflite(one_operator(schema.BuiltinOperator.RELU), "x").operators
    assert op.inputs[0].name == op.outputs[0].name and op.inputs[0].key != op.outputs[0].key


@pytest.mark.parametrize("cut", [9, 20, 100, 0.3, 0.6, 0.9])
def test_truncated_files_are_refused(foreign_tflite: bytes, cut: float) -> None:
    data = foreign_tflite[: int(cut * len(foreign_tflite)) if cut < 1 else int(cut)]
    with pytest.raises(ArtifactError, match=r"is a corrupt TFLite file .*; copy or export it again"):
        parse_tflite(data, "cut.tflite")


def test_hostile_bytes_end_in_one_line_or_in_operators(foreign_tflite: bytes) -> None:
    generator = random.Random(0)
    refused = 0
    for _ in range(300):
        data = bytearray(foreign_tflite)
        for _ in range(generator.choice([1, 4, 64])):
            data[generator.randrange(8, len(data))] = generator.choice([0, 1, 127, 255, generator.randrange(256)])
        try:
            read = parse_tflite(bytes(data), "hostile")
            assert read.operators
        except ArtifactError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 30


def test_tables_that_name_each_other_do_not_fill_the_memory(foreign_tflite: bytes) -> None:
    """Entries are paid for from the file's bytes: one vector that every operator names runs out of them."""
    reader = _Reader(foreign_tflite, "bomb", None)
    reader.left = 20
    with pytest.raises(ValueError, match="more entries than it has bytes"):
        reader.read()


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    with pytest.raises(ArtifactError, match=r"cannot read .*a\.tflite: No such file"):
        read_tflite(path)
    path.write_bytes(b"")
    with pytest.raises(ArtifactError, match="is empty; copy or export it again"):
        read_tflite(path)
    path.write_bytes(b"PK\x03\x04 a zip archive")
    with pytest.raises(ArtifactError, match="is no TFLite file"):
        read_tflite(path)
    with pytest.raises(ArtifactError, match="cannot read"):
        read_tflite(tmp_path)
    with path.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(ArtifactError, match=r"has 2\.1 GB, such files have 2\.1 GB at most"):
        read_tflite(path)
