"""ONNX Runtime's static quantizer: QDQ, activations uint8, weights int8 per channel, percentile ranges.

Its best setting known on SPANV2: U8S8, per-channel, the 99.99th percentile, asymmetric ranges. By its defaults (min-max
or a symmetric percentile) it loses more. Percentile calibration stacks the activations of all images into one array and
so needs images of one size; `CalibStridedMinMax`, which for all its name holds for percentiles too, adds them to the
histograms one by one instead.

The file must run with `session.x64quantprecision=1`, as our runner does: by default ONNX Runtime's AVX2 kernels
saturate sums of U8S8 products in 16 bits and lose decibels that no Arm machine loses.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from edgesr.architecture import SRModel
from edgesr.artifact import INPUT_NAME
from edgesr.export.peers.peer import PeerFile, float_batch, float_contract
from edgesr.export.peers.torch_onnx import export_float_onnx
from edgesr.progress import Progress
from edgesr.target import Layout

PERCENTILE = 99.99


class OnnxRuntime:
    """`onnxruntime.quantization.quantize_static` on the graph that torch.onnx writes."""

    name = "onnxruntime"
    distributions: tuple[str, ...] = ("onnxruntime",)
    extra: str | None = None
    runner = "onnxruntime"
    settings = f"static QDQ, U8S8, per-channel, percentile {PERCENTILE}, x64quantprecision=1"

    def quantize(
        self,
        model: SRModel,
        images: Sequence[NDArray[np.uint8]],
        sizes: Sequence[tuple[int, int]],
        folder: Path,
        progress: Progress,
    ) -> tuple[PeerFile, ...]:
        """One file for every size."""
        float_path, path = folder / "float.onnx", folder / "int8.onnx"
        onnx.save(export_float_onnx(model, folder), float_path)
        quantize_onnx(float_path, path, [float_batch(image, model, Layout.NCHW) for image in images], progress)
        return (PeerFile(path, float_contract(model, Layout.NCHW, None)),)


def quantize_onnx(float_path: Path, path: Path, batches: Sequence[NDArray[np.float32]], progress: Progress) -> None:
    """Write the float file quantized, calibrated on batches (1, C, H, W)."""
    quantize_static(
        float_path,
        path,
        ImageReader(batches, progress),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={
            "CalibPercentile": PERCENTILE,
            "CalibTensorRangeSymmetric": False,
            "CalibStridedMinMax": 1,
        },
    )


class ImageReader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
    """Hands images (1, 3, H, W) to the calibrator, those of the range that it asks for."""

    def __init__(self, batches: Sequence[NDArray[np.float32]], progress: Progress) -> None:
        self._batches = batches
        self._progress = progress
        self._next, self._stop = 0, len(batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with these images."""
        self._next, self._stop = start_index, end_index

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next image by the name of the graph's input, None after the range's last."""
        if self._next >= self._stop:
            return None
        self._next += 1
        self._progress("calibrating onnxruntime", self._next, len(self._batches))
        return {INPUT_NAME: self._batches[self._next - 1]}
