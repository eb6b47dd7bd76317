"""The runners of exported files by name: one literal table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from edgesr.artifact import IOContract
from edgesr.errors import EdgeSRError
from edgesr.runtime.litert_runner import Kernels, LiteRTRunner
from edgesr.runtime.ort_runner import OrtRunner
from edgesr.runtime.qnn_runner import QnnRunner, soc_of
from edgesr.runtime.runner import TracingRunner
from edgesr.target import Format, Target


class FileRunner(TracingRunner, Protocol):
    """A runner of a file, which can show its tensors and be timed without the conversion of images."""

    @property
    def emulated(self) -> str | None:
        """What is emulated, in words; None where the runner is what its name says."""

    def compute_tensor(self, image: np.ndarray) -> np.ndarray:
        """The file's output tensor for an image (N, H, W, C), as it is and in its own type."""

    def prepare(self, image: np.ndarray) -> None:
        """Take an image (N, H, W, C) as the next input."""

    def invoke(self) -> None:
        """Compute on the prepared input and keep the result."""

    def result(self) -> np.ndarray:
        """The image that the last `invoke` computed, as `run` would return it."""


def _xnnpack(path: Path, contract: IOContract, threads: int) -> FileRunner:
    return LiteRTRunner(path, contract, Kernels.XNNPACK, threads)


def _reference(path: Path, contract: IOContract, threads: int) -> FileRunner:
    return LiteRTRunner(path, contract, Kernels.REFERENCE, threads)


def _tensorflow(path: Path, contract: IOContract, threads: int) -> FileRunner:
    return LiteRTRunner(path, contract, Kernels.TENSORFLOW, threads)


def _onnxruntime(path: Path, contract: IOContract, threads: int) -> FileRunner:
    return OrtRunner(path, contract, threads)


def _qnn_htp(path: Path, contract: IOContract, threads: int) -> FileRunner:
    return QnnRunner(path, contract, soc_of(path))


FILE_RUNNERS: Mapping[str, Callable[[Path, IOContract, int], FileRunner]] = {
    "litert-xnnpack": _xnnpack,
    "litert-reference": _reference,
    "onnxruntime": _onnxruntime,
    "tensorflow": _tensorflow,
    "qnn-htp": _qnn_htp,
}


def open_runner(name: str, target: Target, path: Path, contract: IOContract, threads: int = 1) -> FileRunner:
    """The runner of that name on a file; raises `EdgeSRError` when it cannot run files of that target."""
    known = target.all_runners
    if name not in known:
        raise EdgeSRError(f"runner '{name}' does not run {target.name} files; choose from {', '.join(known)}")
    return FILE_RUNNERS[name](path, contract, threads)


def open_other_signatures(
    name: str, target: Target, path: Path, contract: IOContract
) -> dict[tuple[int, int], FileRunner]:
    """Runners bound to each further signature of a TFLite file for several sizes, by that size."""
    if target.format is not Format.TFLITE:
        return {}
    return {size: LiteRTRunner(path, contract, Kernels(name), signature=size) for size in contract.sizes[1:]}
