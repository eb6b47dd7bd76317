"""A TFLite flatbuffer put together from the schema alone: buffers, tensors, operators, subgraphs and signatures.

Nothing here knows networks. Buffers with the same bytes are stored once, so subgraphs for several sizes share weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"

TENSOR_TYPES: Mapping[str, int] = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int64": schema.TensorType.INT64,
    "int32": schema.TensorType.INT32,
    "int16": schema.TensorType.INT16,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
}


@dataclass(frozen=True)
class Quantization:
    """Scales and zero points as a tensor stores them; `axis` counts where there are several scales."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0


class ModelBuilder:
    """Collects a model and serializes it."""

    def __init__(self, description: str) -> None:
        self._model = schema.ModelT()
        self._model.version = SCHEMA_VERSION
        self._model.description = description
        self._model.buffers = [schema.BufferT()]
        self._model.operatorCodes = []
        self._model.subgraphs = []
        self._model.signatureDefs = []
        self._model.metadata = []
        self._buffers: dict[bytes, int] = {}
        self._codes: dict[tuple[int, int], int] = {}

    def subgraph(self, name: str) -> SubgraphBuilder:
        """A new, empty subgraph."""
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = name, [], []
        self._model.subgraphs.append(graph)
        return SubgraphBuilder(self, graph)

    def buffer(self, data: bytes) -> int:
        """The index of a buffer with these bytes."""
        if data not in self._buffers:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data, np.uint8)
            self._model.buffers.append(buffer)
            self._buffers[data] = len(self._model.buffers) - 1
        return self._buffers[data]

    def operator_code(self, builtin: int, version: int) -> int:
        """The index of an operator at a version."""
        if (builtin, version) not in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.version = builtin, version
            code.deprecatedBuiltinCode = min(builtin, 127)
            self._model.operatorCodes.append(code)
            self._codes[builtin, version] = len(self._model.operatorCodes) - 1
        return self._codes[builtin, version]

    def signature(self, key: str, subgraph: int, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """Name a subgraph's inputs and outputs."""
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = key, subgraph
        signature.inputs = [_tensor_map(name, index) for name, index in inputs.items()]
        signature.outputs = [_tensor_map(name, index) for name, index in outputs.items()]
        self._model.signatureDefs.append(signature)

    def metadata(self, name: str, data: bytes) -> None:
        """Attach named bytes."""
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, self.buffer(data)
        self._model.metadata.append(entry)

    def serialize(self) -> bytes:
        """The file."""
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())


class SubgraphBuilder:
    """Adds tensors and operators to one subgraph."""

    def __init__(self, model: ModelBuilder, graph: schema.SubGraphT) -> None:
        self._model = model
        self._graph = graph

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str, quantization: Quantization | None = None,
        data: np.ndarray | None = None,
    ) -> int:  # fmt: skip
        """The index of a new tensor; `data` makes it a constant of data's own dtype."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, [int(n) for n in shape], TENSOR_TYPES[dtype]
        tensor.buffer = 0 if data is None else self._model.buffer(np.ascontiguousarray(data).tobytes())
        if quantization is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.asarray(quantization.scales, np.float32)
            tensor.quantization.zeroPoint = np.asarray(quantization.zero_points, np.int64)
            tensor.quantization.quantizedDimension = quantization.axis
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def constant(self, name: str, data: np.ndarray, quantization: Quantization | None = None) -> int:
        """The index of a new constant tensor."""
        return self.tensor(name, data.shape, str(data.dtype), quantization, data)

    def operator(
        self, builtin: int, version: int, inputs: Sequence[int], outputs: Sequence[int],
        options: object | None = None, options_type: int = schema.BuiltinOptions.NONE,
    ) -> None:  # fmt: skip
        """Append an operator."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._model.operator_code(builtin, version)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        operator.builtinOptions, operator.builtinOptionsType = options, options_type
        self._graph.operators.append(operator)

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Declare the subgraph's inputs and outputs."""
        self._graph.inputs, self._graph.outputs = list(inputs), list(outputs)


def _tensor_map(name: str, index: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
