"""The general route's converters: any network that PyTorch can trace, as a file of one size, floats in and out.

ONNX: torch.onnx and onnxsim, INT8 by ONNX Runtime's static quantizer. TFLite: litert-torch, INT8 by ai-edge-quantizer's
static W8A8 recipe. edgesr folds, equalizes and rounds nothing here. Ranges of ai-edge-quantizer are the extremes of all
images: its moving average cuts off what few images hold, and bright pictures came out 28.7 dB from their network.

Calibration images are cut to the file's size, mirrored onward where they are smaller.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgesr.architecture import SRModel
from edgesr.artifact import INPUT_NAME
from edgesr.errors import MissingBackendError
from edgesr.export.peers.litert_torch import SIGNATURE, convert, quantizer_of
from edgesr.export.peers.onnxruntime import OnnxRuntime, quantize_onnx
from edgesr.export.peers.peer import float_batch
from edgesr.export.peers.torch_onnx import export_float_onnx
from edgesr.progress import Progress
from edgesr.target import Format, Layout, Precision, Target

Images = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Converter:
    """What writes the files of a format, and the extra that it needs, None where edgesr itself needs it all.

    `distributions` are the packages that convert, `quantizers` those that quantize besides; `settings` says how.
    """

    distributions: tuple[str, ...]
    quantizers: tuple[str, ...]
    settings: str
    extra: str | None
    write: Callable[[SRModel, tuple[int, int], Images | None, Path, Progress], bytes]

    def describe(self, target: Target) -> dict[str, object]:
        """The packages with their versions, for a manifest; raises `MissingBackendError` where one is not installed."""
        integer = target.precision is Precision.INT8
        names = self.distributions + (self.quantizers if integer else ())
        return {"packages": {name: self._version(name) for name in names}} | (
            {"settings": self.settings} if integer else {}
        )

    def _version(self, name: str) -> str:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            line = f'pip install "edgesr[{self.extra}]"' if self.extra else "pip install edgesr"
            raise MissingBackendError(f"{name} is not installed; run {line}") from None


def _write_onnx(
    model: SRModel, size: tuple[int, int], images: Images | None, folder: Path, progress: Progress
) -> bytes:
    float_path, path = folder / "float.onnx", folder / "int8.onnx"
    progress("converting with torch.onnx", 0, 1)
    onnx.save(export_float_onnx(model, folder, size), float_path)
    progress("converting with torch.onnx", 1, 1)
    if images is None:
        return float_path.read_bytes()
    quantize_onnx(float_path, path, [float_batch(image, model, Layout.NCHW) for image in images], progress)
    return path.read_bytes()


def _write_tflite(
    model: SRModel, size: tuple[int, int], images: Images | None, folder: Path, progress: Progress
) -> bytes:
    progress("converting with litert-torch", 0, 1)
    path = convert(model, size, folder)
    progress("converting with litert-torch", 1, 1)
    if images is None:
        return path.read_bytes()
    progress("quantizing with ai-edge-quantizer", 0, 1)
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    batches = [{INPUT_NAME: float_batch(image, model, Layout.NHWC)} for image in images]
    quantizer = quantizer_of(path)
    ranges: dict[str, Any] = {}
    for batch in batches:
        found = quantizer.calibrate({SIGNATURE: [batch]}, num_threads=1)
        ranges |= {name: min_max_update(ranges[name], new) if name in ranges else new for name, new in found.items()}
    made = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    progress("quantizing with ai-edge-quantizer", 1, 1)
    return bytes(made.quantized_model)


CONVERTERS: Mapping[Format, Converter] = {
    Format.ONNX: Converter(
        ("torch", "onnxscript", "onnxsim"), ("onnxruntime",), OnnxRuntime.settings, None, _write_onnx
    ),
    Format.TFLITE: Converter(
        ("torch", "litert-torch"),
        ("ai-edge-quantizer",),
        "static W8A8, per-channel, min-max ranges",
        "litert-torch",
        _write_tflite,
    ),
}
