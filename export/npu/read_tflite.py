"""The operators of any TFLite file, through the flatbuffer schema alone: nothing is executed.

A file is hostile until read: every offset may point anywhere. Reading stops with one `ArtifactError` where the schema's
accessors fail, and where more entries are named than the file has bytes, as only tables that name each other do. The
first subgraph is read; files of several sizes hold the same network in each.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgesr.errors import ArtifactError, first_line
from edgesr.export.npu.file_operator import MAX_FILE_BYTES, DType, FileOperator, FileTensor, OperatorList
from edgesr.export.npu.tflite_attributes import RawOperator, attributes_of
from edgesr.target import Format

FILE_IDENTIFIER = b"TFL3"
MAX_NAME = 200
HOSTILE = (struct.error, IndexError, TypeError, ValueError, OverflowError, AttributeError, MemoryError, AssertionError)
"""What the generated accessors raise on bytes that are no such table."""

DTYPES: Mapping[int, DType] = {
    schema.TensorType.FLOAT32: DType.FLOAT32,
    schema.TensorType.FLOAT16: DType.FLOAT16,
    schema.TensorType.INT8: DType.INT8,
    schema.TensorType.UINT8: DType.UINT8,
    schema.TensorType.INT16: DType.INT16,
    schema.TensorType.UINT16: DType.UINT16,
    schema.TensorType.INT32: DType.INT32,
    schema.TensorType.INT64: DType.INT64,
    schema.TensorType.BOOL: DType.BOOL,
}
BUILTIN_NAMES: Mapping[int, str] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}
COMPILED: tuple[tuple[str, str], ...] = (
    ("ethos-u", "Arm's Vela"),
    ("DISPATCH_OP", "LiteRT's ahead-of-time compiler"),
    ("QNN", "Qualcomm's QNN"),
)
"""Custom operators, by the start of their code, that hold a compiler's output."""


def read_tflite(path: Path) -> OperatorList:
    """The operators of a TFLite file; raises `ArtifactError` for what is none, or is corrupt."""
    data = read_file(path)
    if data[4:8] != FILE_IDENTIFIER:
        raise ArtifactError(f"{path} is no TFLite file (its mark TFL3 is missing); give a whole .tflite or .onnx file")
    return parse_tflite(data, str(path), path)


def parse_tflite(data: bytes, origin: str, path: Path | None = None) -> OperatorList:
    """As `read_tflite`, from bytes."""
    try:
        return _Reader(data, origin, path).read()
    except HOSTILE as error:
        raise ArtifactError(
            f"{origin} is a corrupt TFLite file ({first_line(error)}); copy or export it again"
        ) from error


def read_file(path: Path) -> bytes:
    """A file's bytes; raises `ArtifactError` where it cannot be read, is empty, or larger than its format allows."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ArtifactError(f"{path} has {size / 1e9:.1f} GB, such files have 2.1 GB at most; give a smaller one")
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}; give a .tflite or .onnx file") from error
    if not data:
        raise ArtifactError(f"{path} is empty; copy or export it again")
    return data


class _Reader:
    """One file while it is read."""

    def __init__(self, data: bytes, origin: str, path: Path | None) -> None:
        self.data, self.origin, self.path = data, origin, path
        self.left = len(data)
        self.model: Any = schema.Model.GetRootAs(data, 0)
        if not self.model.SubgraphsLength():
            raise ValueError("it has no subgraph")
        self.graph: Any = self.model.Subgraphs(0)
        self.tensors: dict[int, FileTensor] = {}

    def read(self) -> OperatorList:
        """The operators of the first subgraph."""
        operators = tuple(self._operator(self.graph.Operators(i)) for i in self._range(self.graph.OperatorsLength()))
        inputs = tuple(self._tensor(self.graph.Inputs(i)) for i in self._range(self.graph.InputsLength()))
        graphs = self.model.SubgraphsLength()
        notes = (f"the first of {graphs} subgraphs is audited",) if graphs > 1 else ()
        return OperatorList(self.origin, Format.TFLITE, operators, inputs, self.path, notes)

    def _range(self, count: int) -> range:
        """Indices below `count`, paid for from the bytes of the file."""
        self.left -= count
        if self.left < 0:
            raise ValueError("its tables name more entries than it has bytes")
        return range(count)

    def _operator(self, operator: Any) -> FileOperator:
        code: Any = self.model.OperatorCodes(self._below(operator.OpcodeIndex(), self.model.OperatorCodesLength()))
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        is_custom = builtin == schema.BuiltinOperator.CUSTOM
        custom = _text(code.CustomCode()) if is_custom else ""
        kind = f"CUSTOM {custom or '(unnamed)'}" if is_custom else BUILTIN_NAMES.get(builtin, f"BUILTIN_{builtin}")
        indices = [operator.Inputs(i) for i in self._range(operator.InputsLength())]
        inputs = tuple(self._tensor(i) for i in indices if i >= 0)
        outputs = tuple(self._tensor(operator.Outputs(i)) for i in self._range(operator.OutputsLength()))
        if not outputs:
            raise ValueError(f"{kind} has no output")
        raw = RawOperator(kind, inputs, outputs, self._options(operator), self._content(indices))
        return FileOperator(
            outputs[0].name, kind, "" if is_custom or builtin not in BUILTIN_NAMES else kind,
            activation_dtype(kind, inputs, outputs), inputs, outputs, attributes_of(raw), is_custom,
            next((by for start, by in COMPILED if is_custom and custom.startswith(start)), ""),
        )  # fmt: skip

    def _options(self, operator: Any) -> Any:
        """The operator's table of options, None where it has none or one of a later schema."""
        table, name = operator.BuiltinOptions(), OPTION_NAMES.get(operator.BuiltinOptionsType())
        if table is None or name is None:
            return None
        options = getattr(schema, name)()
        options.Init(table.Bytes, table.Pos)
        return options

    def _content(self, indices: list[int]) -> dict[int, tuple[int, ...]]:
        """The content of small integer constants by the position among the inputs: sizes, axes and permutations."""
        found = {}
        for position, index in enumerate(i for i in indices if i >= 0):
            tensor = self._tensor(index)
            if tensor.is_constant and tensor.dtype in (DType.INT32, DType.INT64) and len(tensor.shape) <= 2:
                buffer: Any = self.model.Buffers(self.graph.Tensors(index).Buffer())
                if 0 < buffer.DataLength() <= 256:
                    data = np.asarray(buffer.DataAsNumpy(), np.uint8).tobytes()
                    values = np.frombuffer(data, np.int32 if tensor.dtype is DType.INT32 else np.int64)
                    found[position] = tuple(values.tolist())
        return found

    def _tensor(self, index: int) -> FileTensor:
        if index not in self.tensors:
            table: Any = self.graph.Tensors(self._below(index, self.graph.TensorsLength()))
            shape = tuple(table.Shape(i) for i in self._range(table.ShapeLength()))
            signature = tuple(table.ShapeSignature(i) for i in self._range(table.ShapeSignatureLength()))
            grids: Any = table.Quantization()
            scales = 0 if grids is None else grids.ScaleLength()
            grid = None
            if scales == 1:
                grid = float(grids.Scale(0)), int(grids.ZeroPoint(0)) if grids.ZeroPointLength() else 0
            self.tensors[index] = FileTensor(
                _text(table.Name()), signature if len(signature) == len(shape) else shape,
                DTYPES.get(table.Type(), DType.OTHER), self._is_constant(table), scales > 0, grid, index,
            )  # fmt: skip
        return self.tensors[index]

    def _is_constant(self, table: Any) -> bool:
        index = self._below(table.Buffer(), self.model.BuffersLength())
        buffer: Any = self.model.Buffers(index)
        return index > 0 and (buffer.DataLength() > 0 or buffer.Size() > 1)

    @staticmethod
    def _below(index: int, length: int) -> int:
        if not 0 <= index < length:
            raise IndexError(f"index {index} of {length}")
        return index


OPTION_NAMES: Mapping[int, str] = {
    code: name for name, code in vars(schema.BuiltinOptions).items() if not name.startswith("_") and name != "NONE"
}


def activation_dtype(kind: str, inputs: tuple[FileTensor, ...], outputs: tuple[FileTensor, ...]) -> DType:
    """The type by which the tables judge an operator: its output's, its input's where it makes reals of integers."""
    source = next((tensor for tensor in inputs), outputs[0])
    if kind == "DEQUANTIZE" or (kind == "CAST" and source.dtype.is_float):
        return source.dtype
    return outputs[0].dtype


def _text(raw: bytes | None) -> str:
    """A name as the file has it, made safe to print."""
    text = (raw or b"").decode("utf-8", errors="replace")[-MAX_NAME:]
    return "".join(x if x.isprintable() else "?" for x in text)
