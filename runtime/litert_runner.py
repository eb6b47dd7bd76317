"""LiteRT on the host: the XNNPACK kernels that a phone's CPU runs, or the reference kernels."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError
from edgesr.runtime.native_output import native_output_kept_quiet


class Kernels(enum.Enum):
    """Which implementation of the operators; the value is the runner's name."""

    XNNPACK = "litert-xnnpack"
    REFERENCE = "litert-reference"


RESOLVERS = {Kernels.XNNPACK: OpResolverType.AUTO, Kernels.REFERENCE: OpResolverType.BUILTIN_REF}


class LiteRTRunner:
    """A TFLite file in LiteRT; resizes itself to each image."""

    def __init__(self, path: Path, contract: IOContract, kernels: Kernels = Kernels.XNNPACK, threads: int = 1) -> None:
        self.name = kernels.value
        self._contract = contract
        self._kernels = kernels
        self._threads = threads
        self._content = path.read_bytes()
        self._interpreter = self._open(self._content, str(path))

    def run(self, image: np.ndarray) -> np.ndarray:
        """The output image; raises `ArtifactError` for a size that the contract refuses."""
        self._feed(self._interpreter, image)
        self._interpreter.invoke()
        return self._contract.decode(self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"]))

    def prepare(self, image: np.ndarray) -> None:
        """Resize to the image and set it, so that `invoke` can be timed alone."""
        self._feed(self._interpreter, image)

    def invoke(self) -> None:
        """Run on what `prepare` set."""
        self._interpreter.invoke()

    def trace(self, image: np.ndarray) -> Mapping[str, np.ndarray]:
        """Every activation, from a copy of the file whose tensors are all outputs."""
        interpreter = self._open(with_all_outputs(self._content), "traced copy")
        self._feed(interpreter, image)
        interpreter.invoke()
        return {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}

    def _open(self, content: bytes, source: str) -> Interpreter:
        try:
            with native_output_kept_quiet():
                interpreter = Interpreter(
                    model_content=content,
                    num_threads=self._threads,
                    experimental_op_resolver_type=RESOLVERS[self._kernels],
                )
                interpreter.allocate_tensors()
                return interpreter
        except (ValueError, RuntimeError) as error:
            first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ArtifactError(f"LiteRT ({self.name}) cannot load {source}: {first_line}") from error

    def _feed(self, interpreter: Interpreter, image: np.ndarray) -> None:
        refusal = self._contract.accepts(*image.shape[1:3])
        if refusal:
            raise ArtifactError(f"{self.name}: {refusal}; choose another image or export with --size")
        detail = interpreter.get_input_details()[0]
        if tuple(detail["shape"]) != image.shape:
            interpreter.resize_tensor_input(detail["index"], image.shape)
            with native_output_kept_quiet():
                interpreter.allocate_tensors()
        interpreter.set_tensor(detail["index"], self._contract.encode(image))


def with_all_outputs(content: bytes) -> bytes:
    """The same model with every computed tensor of its first subgraph, and the input, declared an output."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    computed = [int(index) for op in graph.operators for index in op.outputs]
    dequantized_weights = {
        int(op.outputs[0]) for op in graph.operators if len(op.inputs) == 1 and graph.tensors[op.inputs[0]].buffer
    }
    graph.outputs = [int(graph.inputs[0]), *(i for i in computed if i not in dequantized_weights)]
    model.signatureDefs = []
    model.subgraphs = model.subgraphs[:1]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
