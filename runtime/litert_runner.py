"""LiteRT on the host: the XNNPACK kernels that a phone's CPU runs, the reference kernels, or TensorFlow's own build."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType, SignatureRunner

from edgesr.artifact import IMAGE_LEVELS, INPUT_NAME, INT8_ZERO, OUTPUT_NAME, IOContract
from edgesr.errors import ArtifactError, first_line
from edgesr.runtime.native_output import native_output_kept_quiet
from edgesr.runtime.tensorflow_interpreter import tensorflow_interpreter
from edgesr.target import IODtype

SCALE_TOLERANCE = 1e-6  # a file holds scales as float32


class Kernels(enum.Enum):
    """Which implementation of the operators; the value is the runner's name."""

    XNNPACK = "litert-xnnpack"
    REFERENCE = "litert-reference"
    TENSORFLOW = "tensorflow"


RESOLVERS = {Kernels.XNNPACK: OpResolverType.AUTO, Kernels.REFERENCE: OpResolverType.BUILTIN_REF}


class LiteRTRunner:
    """A TFLite file in LiteRT.

    An image runs on the signature that was written for its size; where there is none, on the default one, resized.
    `signature`, a size that the file was written for, makes that one run every image.
    """

    emulated: str | None = None

    def __init__(
        self,
        path: Path,
        contract: IOContract,
        kernels: Kernels = Kernels.XNNPACK,
        threads: int = 1,
        signature: tuple[int, int] | None = None,
    ) -> None:
        self.name = kernels.value if signature is None else f"{kernels.value} {signature[0]}x{signature[1]}"
        self._contract = contract
        self._kernels = kernels
        self._threads = threads
        self._source = str(path)
        self._content = path.read_bytes()
        self._interpreter = self._open(self._content, self._source)
        self._keys = self._read_signatures(self._source)
        if signature is not None and signature not in self._keys:
            raise ArtifactError(f"{path} has no signature for {signature[0]}x{signature[1]}; export it again")
        self._signature = signature
        self._other: tuple[SignatureRunner, np.ndarray] | None = None
        self._output: np.ndarray | None = None
        self._size: tuple[int, int] | None = None

    def run(self, image: np.ndarray) -> np.ndarray:
        """The output image; raises `ArtifactError` for a size that the contract refuses."""
        return self._contract.decode(self.compute_tensor(image), self._size)

    def compute_tensor(self, image: np.ndarray) -> np.ndarray:
        """The file's output tensor as it is, in its own type: what the same file gives on a device."""
        self.prepare(image)
        return self._compute()

    def prepare(self, image: np.ndarray) -> None:
        """Resize to the image and set it, so that `invoke` can be timed alone."""
        self._refuse(image)
        key = self._key(image)
        data, self._size = self._contract.encode(image), image.shape[1:3]
        if key is None:
            self._other = None
            self._feed(self._interpreter, data)
        else:
            self._other = self._interpreter.get_signature_runner(key), data

    def invoke(self) -> None:
        """Run on what `prepare` set."""
        if self._other is None:
            self._invoke(self._interpreter)
        else:
            self._output = self._compute()

    def result(self) -> np.ndarray:
        """The image that the last `invoke` computed."""
        if self._other is None:
            return self._contract.decode(self._fetch(), self._size)
        if self._output is None:
            raise ValueError("result comes after invoke")
        return self._contract.decode(self._output, self._size)

    def trace(self, image: np.ndarray) -> Mapping[str, np.ndarray]:
        """Every activation for the padded image, from a copy of the file whose tensors are all outputs."""
        self._refuse(image)
        interpreter = self._open(with_all_outputs(self._content, self._key(image)), "traced copy")
        self._feed(interpreter, self._contract.encode(image))
        self._invoke(interpreter)
        return {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}

    def _compute(self) -> np.ndarray:
        if self._other is not None:
            runner, data = self._other
            try:
                with native_output_kept_quiet():
                    result: np.ndarray = runner(**{INPUT_NAME: data})[OUTPUT_NAME]
                return result
            except (ValueError, RuntimeError) as error:
                raise ArtifactError(f"{self.name} cannot run {self._source}: {first_line(error)}") from error
        self._invoke(self._interpreter)
        return self._fetch()

    def _fetch(self) -> np.ndarray:
        output: np.ndarray = self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"])
        return output

    def _invoke(self, interpreter: Interpreter) -> None:
        try:
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"{self.name} cannot run {self._source}: {first_line(error)}") from error

    def _key(self, image: np.ndarray) -> str | None:
        """The key of the signature that runs the image, None for the default one."""
        height, width = self._signature or self._contract.file_size(image.shape[1:3])
        return self._keys.get((height, width))

    def _open(self, content: bytes, source: str) -> Interpreter:
        try:
            with native_output_kept_quiet():
                interpreter = self._new(content)
                interpreter.allocate_tensors()
                return interpreter
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"LiteRT ({self.name}) cannot load {source}: {first_line(error)}") from error

    def _new(self, content: bytes) -> Interpreter:
        if self._kernels is Kernels.TENSORFLOW:
            return tensorflow_interpreter(content, self._threads)
        resolver = RESOLVERS[self._kernels]
        return Interpreter(model_content=content, num_threads=self._threads, experimental_op_resolver_type=resolver)

    def _read_signatures(self, source: str) -> dict[tuple[int, int], str | None]:
        """The key of each size's signature, None for the default one, after checking what goes in and comes out."""
        keys: dict[tuple[int, int], str | None] = {}
        default = tuple(self._interpreter.get_input_details()[0]["shape"])
        for key in self._interpreter.get_signature_list():
            signature = self._interpreter.get_signature_runner(key)
            edges = {**signature.get_input_details(), **signature.get_output_details()}
            for name, detail in edges.items():
                self._check_edge(f"{source}: its '{name}'", detail)
            shape = tuple(edges[INPUT_NAME]["shape"])
            keys[int(shape[1]), int(shape[2])] = None if shape == default else key
        return keys

    def _check_edge(self, what: str, detail: Mapping[str, Any]) -> None:
        """A deployer reads type and scale from the file itself: they must be those that the contract promises."""
        dtype, found = self._contract.dtype, np.dtype(detail["dtype"]).name
        if found != dtype.value:
            raise ArtifactError(f"{what} is {found}, its contract says {dtype.value}; export it again")
        if dtype is IODtype.FLOAT32:
            return
        scale, zero_point = detail["quantization"]
        wanted = self._contract.value_range / IMAGE_LEVELS, -INT8_ZERO if dtype is IODtype.INT8 else 0
        if abs(scale / wanted[0] - 1) > SCALE_TOLERANCE or zero_point != wanted[1]:
            raise ArtifactError(
                f"{what} has scale {scale:.6g} and zero point {zero_point}, its contract says {wanted[0]:.6g} and "
                f"{wanted[1]}; export it again"
            )

    def _refuse(self, image: np.ndarray) -> None:
        refusal = self._contract.accepts(*image.shape[1:3])
        if refusal:
            raise ArtifactError(f"{self.name}: {refusal}; choose another image or export with --size")

    def _feed(self, interpreter: Interpreter, data: np.ndarray) -> None:
        detail = interpreter.get_input_details()[0]
        if tuple(detail["shape"]) != data.shape:
            interpreter.resize_tensor_input(detail["index"], data.shape)
            try:
                with native_output_kept_quiet():
                    interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                shape = "x".join(map(str, data.shape))
                raise ArtifactError(f"{self.name} cannot resize to {shape}: {first_line(error)}") from error
        interpreter.set_tensor(detail["index"], data)


def with_all_outputs(content: bytes, signature: str | None = None) -> bytes:
    """The same model with one subgraph alone, its input and every tensor that it computes declared outputs.

    `signature` names the subgraph; None means the first one.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    keys = {entry.signatureKey.decode(): entry.subgraphIndex for entry in model.signatureDefs or []}
    graph = model.subgraphs[keys[signature] if signature is not None else 0]
    computed = [int(index) for op in graph.operators for index in op.outputs]
    dequantized_weights = {
        int(op.outputs[0]) for op in graph.operators if len(op.inputs) == 1 and graph.tensors[op.inputs[0]].buffer
    }
    graph.outputs = [int(graph.inputs[0]), *(i for i in computed if i not in dequantized_weights)]
    model.signatureDefs = []
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
