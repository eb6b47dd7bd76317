"""ONNX Runtime on the host's CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from edgesr.artifact import INPUT_NAME, INT8_ZERO, INT16_ZERO, OUTPUT_NAME, IOContract
from edgesr.errors import ArtifactError, first_line
from edgesr.target import Layout

ERRORS_ONLY = 3
IMAGE_AXES = 4
FUSED_AWAY = ".before_activation"
"""How a file marks values that belong to the activation behind them."""


class OrtRunner:
    """An ONNX file in ONNX Runtime.

    INT8 runs with `session.x64quantprecision=1`: without it the AVX2 kernels saturate 16-bit sums and lose decibels.
    """

    name = "onnxruntime"
    emulated: str | None = None

    def __init__(self, path: Path, contract: IOContract, threads: int = 1) -> None:
        self._contract = contract
        self._threads = threads
        self._content = path.read_bytes()
        self._source = str(path)
        self._session = self._open_file(path)
        self._prepared: np.ndarray | None = None
        self._size: tuple[int, int] | None = None
        self._output: np.ndarray | None = None

    def run(self, image: np.ndarray) -> np.ndarray:
        """The output image; raises `ArtifactError` for a size that the contract refuses."""
        return self._contract.decode(self.compute_tensor(image), self._size)

    def compute_tensor(self, image: np.ndarray) -> np.ndarray:
        """The file's output tensor as it is, in its own type."""
        self.prepare(image)
        return self._run(self._session, None)[0]

    def prepare(self, image: np.ndarray) -> None:
        """Convert the image, so that `invoke` can be timed alone."""
        refusal = self._contract.accepts(*image.shape[1:3])
        if refusal:
            raise ArtifactError(f"{self.name}: {refusal}; choose another image or export with --size")
        self._prepared, self._size = self._contract.encode(image), image.shape[1:3]

    def invoke(self) -> None:
        """Run on what `prepare` set."""
        self._output = self._run(self._session, None)[0]

    def result(self) -> np.ndarray:
        """The image that the last `invoke` computed."""
        if self._output is None:
            raise ValueError("result comes after invoke")
        return self._contract.decode(self._output, self._size)

    def trace(self, image: np.ndarray) -> Mapping[str, np.ndarray]:
        """Every value of the graph for the padded image, from a copy of the file whose values are all outputs."""
        content, names = with_all_outputs(self._content)
        session = self._open(content, "traced copy")
        self.prepare(image)
        values = self._run(session, names)
        edges = {OUTPUT_NAME: self._contract.layout}
        return {
            name: _as_graph_tensor(value, edges.get(name, Layout.NCHW))
            for name, value in zip(names, values, strict=True)
            if value.ndim == IMAGE_AXES
        }

    def _run(self, session: ort.InferenceSession, names: Sequence[str] | None) -> list[np.ndarray]:
        try:
            outputs: list[np.ndarray] = session.run(names, {INPUT_NAME: self._prepared})
            return outputs
        except Exception as error:  # onnxruntime's exceptions share no base class but Exception
            raise ArtifactError(f"ONNX Runtime cannot run {self._source}: {first_line(error)}") from error

    def _open_file(self, path: Path) -> ort.InferenceSession:
        """The session of the file itself, from the bytes that were read."""
        return self._open(self._content, self._source)

    def _open(self, content: bytes, source: str) -> ort.InferenceSession:
        try:
            return ort.InferenceSession(content, self._session_options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # as above
            raise ArtifactError(f"ONNX Runtime cannot load {source}: {first_line(error)}") from error

    def _session_options(self) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = self._threads
        options.add_session_config_entry("session.x64quantprecision", "1")
        return options


class UnfusedOrtRunner(OrtRunner):
    """A QDQ file with nothing fused: integers are made floats again before each operator, which computes in floats."""

    name = "onnxruntime-unfused"

    def _session_options(self) -> ort.SessionOptions:
        options = super()._session_options()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return options


def with_all_outputs(content: bytes) -> tuple[bytes, list[str]]:
    """The same model with every tensor of its graph declared an output, and the names of all outputs.

    In a QDQ file those are the quantized tensors alone, and a convolution and its activation show one tensor, not two:
    a value that is an output cannot be fused away, and the copy must run the integer kernels that the file runs. In a
    half-precision file a QuantizeLinear makes the image's bytes, and no other tensor's.
    """
    model = onnx.load_from_string(content)
    half = any(initializer.data_type == onnx.TensorProto.FLOAT16 for initializer in model.graph.initializer)
    integers = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear" and not half]
    exposed = integers or [node.output[0] for node in model.graph.node if not node.output[0].endswith(FUSED_AWAY)]
    declared = [x.name for x in model.graph.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in exposed if name not in declared)
    return model.SerializeToString(), [x.name for x in model.graph.output]


def _as_graph_tensor(value: np.ndarray, layout: Layout) -> np.ndarray:
    """A value of the file as (N, H, W, C), unsigned integers as the signed ones of the graph."""
    nhwc = value.transpose(0, 2, 3, 1) if layout is Layout.NCHW else value
    if value.dtype == np.uint16:
        return (nhwc.astype(np.int32) - INT16_ZERO).astype(np.int16)
    return (nhwc.astype(np.int16) - INT8_ZERO).astype(np.int8) if value.dtype == np.uint8 else nhwc
