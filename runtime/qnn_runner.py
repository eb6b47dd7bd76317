"""ONNX files and context binaries on Qualcomm's HTP, which x86-64 hosts emulate: numbers, and no latencies.

The emulator computes what the NPU computes, in its own time: `emulated` says on which generation, for reports. Nothing
runs on the CPU, or the file does not open. The wrapper of a context binary runs as the file that it was compiled from,
bit for bit; its tensors are out of sight.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError
from edgesr.qnn_session import COMPILED_KIND, emulated_label, open_quietly
from edgesr.qualcomm import Soc, find_soc
from edgesr.runtime.ort_runner import OrtRunner

DEFAULT_SOC = "snapdragon-8-elite"


class QnnRunner(OrtRunner):
    """A file on the HTP of one SoC.

    Raises `MissingBackendError`, and `DeviceError` where the file does not run whole there.
    """

    name = "qnn-htp"

    def __init__(self, path: Path, contract: IOContract, soc: Soc) -> None:
        self.soc = soc
        self.emulated = emulated_label(soc)
        self._compiled = _is_wrapper(path)
        super().__init__(path, contract)

    def trace(self, image: np.ndarray) -> Mapping[str, np.ndarray]:
        """Every value of a plain file; raises `ArtifactError` for a context binary."""
        if self._compiled:
            raise ArtifactError(
                f"{self._source} wraps a context binary, which shows no tensors; trace the ONNX file that it came from"
            )
        return super().trace(image)

    def _open_file(self, path: Path) -> ort.InferenceSession:
        """A wrapper is opened where it lies: its binary lies beside it."""
        return open_quietly(path, self.soc, str(path)) if self._compiled else self._open(self._content, self._source)

    def _open(self, content: bytes, source: str) -> ort.InferenceSession:
        return open_quietly(content, self.soc, source)


def soc_of(path: Path) -> Soc:
    """The SoC that a file was exported for, by its metadata; a Snapdragon 8 Elite where it names none."""
    try:
        entries = {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
        return find_soc(json.loads(entries["edgesr"])["npu"]["profile"])
    except Exception:  # no metadata, another tool's, or no single SoC: any will do, and the report names it
        return find_soc(DEFAULT_SOC)


def _is_wrapper(path: Path) -> bool:
    try:
        return any(node.op_type == COMPILED_KIND for node in onnx.load(path, load_external_data=False).graph.node)
    except Exception:  # what no ONNX library reads, ONNX Runtime refuses with a reason
        return False
