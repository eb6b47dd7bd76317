"""The operators of any ONNX file, named as the tables name them; nothing is executed, no external data is opened.

QuantizeLinear and DequantizeLinear are no operators of their own where they say in which integers an operator computes
(QDQ): DequantizeLinear -> operator (-> Relu or Clip) -> QuantizeLinear is one operator of the integers' type, as QNN
reads it. The other pairs, which convert in fact, are QUANTIZE and DEQUANTIZE. Signs are the file's own: a Qualcomm ONNX
file goes through QNN, which takes the unsigned 16 bits that TFLite has not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper, shape_inference

from edgesr.errors import ArtifactError, first_line
from edgesr.export.npu.file_operator import FREE, Attributes, DType, FileOperator, FileTensor, OperatorList
from edgesr.export.npu.onnx_attributes import attributes_of, clip_kind, table_kind
from edgesr.export.npu.onnx_node import Node, ReadNode
from edgesr.export.npu.read_tflite import FILE_IDENTIFIER, MAX_NAME, activation_dtype, read_file
from edgesr.target import Format

DTYPES: Mapping[int, DType] = {
    TensorProto.FLOAT: DType.FLOAT32,
    TensorProto.FLOAT16: DType.FLOAT16,
    TensorProto.INT8: DType.INT8,
    TensorProto.UINT8: DType.UINT8,
    TensorProto.INT16: DType.INT16,
    TensorProto.UINT16: DType.UINT16,
    TensorProto.INT32: DType.INT32,
    TensorProto.INT64: DType.INT64,
    TensorProto.BOOL: DType.BOOL,
}
MAX_SMALL = 64
"""Constants up to so many values may be sizes, axes or bounds, and are looked at."""
STANDARD_DOMAINS = ("", "ai.onnx")
QDQ_DOMAINS = (*STANDARD_DOMAINS, "com.microsoft")
COMPILED: Mapping[str, str] = {"EPContext": "an ONNX Runtime execution provider"}
"""Node types that hold a compiler's output."""
ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")


def read_onnx(path: Path) -> OperatorList:
    """The operators of an ONNX file; raises `ArtifactError` for what is none, or is corrupt."""
    data = read_file(path)
    if data[4:8] == FILE_IDENTIFIER:
        raise ArtifactError(f"{path} holds a TFLite file; rename it to .tflite")
    return parse_onnx(data, str(path), path)


def parse_onnx(data: bytes, origin: str, path: Path | None = None) -> OperatorList:
    """As `read_onnx`, from bytes."""
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError, RuntimeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{origin} is no ONNX file, or a corrupt one ({first_line(error)}); export it again"
        ) from error
    if not model.HasField("graph") or not model.graph.node:
        raise ArtifactError(f"{origin} is no ONNX file, or one without operators; give a .onnx file with a graph")
    try:
        return _Reader(_with_shapes(model), origin, path).read()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            f"{origin} is a corrupt ONNX file ({first_line(error)}); copy or export it again"
        ) from error


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes that follow from its inputs'; as it is where they contradict one another."""
    try:
        return shape_inference.infer_shapes(model)
    except Exception:  # the C++ library's exceptions have no common base; the shapes stay unknown then
        return model


class _Reader:
    """One graph while it is read."""

    def __init__(self, model: onnx.ModelProto, origin: str, path: Path | None) -> None:
        self.graph, self.origin, self.path = model.graph, origin, path
        self.shapes: dict[str, tuple[DType, tuple[int, ...]]] = {}
        for info in (*self.graph.input, *self.graph.value_info, *self.graph.output):
            self.shapes[info.name] = _declared(info)
        self.constants: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in self.graph.initializer}
        self._take_constant_nodes()
        self.nodes = [node for node in self.graph.node if node.op_type != "Constant"]
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.consumers.setdefault(name, []).append(node)
        self.results = {info.name for info in self.graph.output}
        self.producers = {name: node for node in self.nodes for name in node.output}

    def _take_constant_nodes(self) -> None:
        for node in self.graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self.constants[node.output[0]] = attribute.t

    def read(self) -> OperatorList:
        """The operators in the graph's order."""
        operators, done = [], set[str]()
        for node in self.nodes:
            if not node.output or node.output[0] in done or self._is_silent(node):
                continue
            unit = self._unit(node)
            operators.append(self._operator(unit))
            done.update(name for part in unit.parts for name in part.output)
        if not operators:
            raise ValueError("it computes nothing")
        inputs = tuple(self._tensor(info.name) for info in self.graph.input if info.name not in self.constants)
        return OperatorList(self.origin, Format.ONNX, tuple(operators), inputs, self.path)

    def _is_silent(self, node: onnx.NodeProto) -> bool:
        """Whether a QuantizeLinear or DequantizeLinear only says in which integers a neighbour computes."""
        if not _is(node, "DequantizeLinear", QDQ_DOMAINS):
            return False
        readers = self.consumers.get(node.output[0], [])
        if node.input[0] in self.constants:
            return True
        if node.output[0] in self.results or not readers:
            return False
        return all(_is(reader, "QuantizeLinear", QDQ_DOMAINS) or self._is_unit(reader) for reader in readers)

    def _sole_reader(self, name: str) -> onnx.NodeProto | None:
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.results else None

    def _is_unit(self, node: onnx.NodeProto) -> bool:
        """Whether a node stands between DequantizeLinear and QuantizeLinear, an activation behind it included."""
        return len(self._unit(node).parts) > 1

    def _unit(self, node: onnx.NodeProto) -> ReadNode:
        """A node with the activation and the QuantizeLinear that belong to it."""
        alone = ReadNode((node,), "", tuple(node.input), tuple(node.output))
        if _is(node, "QuantizeLinear", QDQ_DOMAINS):
            return ReadNode((node,), "", (self._integers(node.input[0]),), tuple(node.output))
        if _is(node, "DequantizeLinear", QDQ_DOMAINS):
            return ReadNode((node,), "", tuple(node.input[:1]), tuple(node.output))
        fused, reader = "", self._sole_reader(node.output[0])
        if reader is None or not self._reads_integers(node):
            return alone
        parts = [node]
        if reader.op_type in ("Relu", "Clip") and node.op_type not in ("Relu", "Clip"):
            fused = table_kind(reader.op_type) if reader.op_type == "Relu" else clip_kind(self._small(reader))
            after = self._sole_reader(reader.output[0])
            if fused not in ACTIVATIONS or after is None:
                return alone
            parts, reader = [node, reader], after
        if not _is(reader, "QuantizeLinear", QDQ_DOMAINS) or len(node.output) != 1:
            return alone
        inputs = tuple(self._integers(name) for name in node.input)
        return ReadNode((*parts, reader), fused, inputs, tuple(reader.output))

    def _reads_integers(self, node: onnx.NodeProto) -> bool:
        """Whether every activation comes from a DequantizeLinear, and at least one does."""
        found = [name for name in node.input if name and name not in self.constants]
        makers = [self.producers.get(name) for name in found]
        return bool(makers) and all(x is not None and _is(x, "DequantizeLinear", QDQ_DOMAINS) for x in makers)

    def _feeds(self, node: onnx.NodeProto) -> tuple[str, ...]:
        """What each DequantizeLinear makes that a node reads."""
        makers = (self.producers.get(name) for name in dict.fromkeys(node.input))
        return tuple(x.output[0] for x in makers if x is not None and _is(x, "DequantizeLinear", QDQ_DOMAINS))

    def _integers(self, name: str) -> str:
        """The integers behind a value that a DequantizeLinear makes, the value itself where none does."""
        maker = self.producers.get(name)
        return maker.input[0] if maker is not None and _is(maker, "DequantizeLinear", QDQ_DOMAINS) else name

    def _operator(self, unit: ReadNode) -> FileOperator:
        node = unit.parts[0]
        inputs = tuple(self._tensor(name) for name in unit.inputs if name)
        outputs = tuple(self._tensor(name) for name in unit.outputs if name)
        standard = node.domain in QDQ_DOMAINS
        raw = Node(node, tuple(self._tensor(x) if x else None for x in unit.inputs), outputs, self._small(node))
        kind = self._table_kind(raw) if standard else ""
        attributes = attributes_of(kind, raw) if kind else Attributes(activation="NONE")
        if unit.activation:
            attributes = replace(attributes, activation=unit.activation)
        return FileOperator(
            outputs[0].name, _printable(node.op_type), kind,
            activation_dtype(kind, tuple(x for x in inputs if not x.is_constant), outputs), inputs, outputs, attributes,
            is_custom=not standard, compiled_for=COMPILED.get(node.op_type, ""),
            nodes=tuple(part.output[0] for part in unit.parts), feeds=self._feeds(node),
        )  # fmt: skip

    def _table_kind(self, node: Node) -> str:
        if node.proto.op_type == "Clip":
            return clip_kind(node.constants)
        if node.proto.op_type == "Resize":
            return {"nearest": "RESIZE_NEAREST_NEIGHBOR", "linear": "RESIZE_BILINEAR"}.get(
                node.text("mode", "nearest"), ""
            )
        if node.proto.op_type == "Conv":
            return "DEPTHWISE_CONV_2D" if node.is_depthwise else "CONV_2D" if node.is_image_convolution else ""
        if node.proto.op_type == "Pad" and node.text("mode", "constant") != "constant":
            return "MIRROR_PAD" if node.text("mode", "constant") == "reflect" else ""
        return table_kind(node.proto.op_type)

    def _small(self, node: onnx.NodeProto) -> tuple[tuple[float, ...] | None, ...]:
        """The content of small constants among a node's inputs, None for the others."""
        return tuple(self._content(self._integers(name)) for name in node.input)

    def _content(self, name: str) -> tuple[float, ...] | None:
        tensor = self.constants.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL or len(tensor.dims) > 1:
            return None
        if sum(tensor.dims) > MAX_SMALL:
            return None
        return tuple(float(x) for x in numpy_helper.to_array(tensor).reshape(-1))

    def _tensor(self, name: str) -> FileTensor:
        if name in self.constants:
            tensor = self.constants[name]
            dtype = DTYPES.get(tensor.data_type, DType.OTHER)
            return FileTensor(_printable(name), tuple(tensor.dims), dtype, True, not dtype.is_float)
        dtype, shape = self.shapes.get(name, (DType.OTHER, ()))
        return FileTensor(_printable(name), shape, dtype, False, self._is_quantized(name))

    def _is_quantized(self, name: str) -> bool:
        maker = self.producers.get(name)
        makes = maker is not None and _is(maker, "QuantizeLinear", QDQ_DOMAINS)
        return makes or any(_is(node, "DequantizeLinear", QDQ_DOMAINS) for node in self.consumers.get(name, []))


def _declared(info: onnx.ValueInfoProto) -> tuple[DType, tuple[int, ...]]:
    kind = info.type.tensor_type
    dims: Sequence[onnx.TensorShapeProto.Dimension] = kind.shape.dim
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else FREE for dim in dims)
    return DTYPES.get(kind.elem_type, DType.OTHER), shape if kind.HasField("shape") else (FREE,)


def _is(node: onnx.NodeProto, kind: str, domains: Sequence[str]) -> bool:
    return node.op_type == kind and node.domain in domains


def _printable(name: str) -> str:
    return "".join(x if x.isprintable() else "?" for x in name[-MAX_NAME:])
