"""litert-torch (once ai-edge-torch) and ai-edge-quantizer: static W8A8 by its own recipe, `static_wi8_ai8`.

The module is converted with channels last, as its documentation advises for mobile, and keeps float input and output.
Its files cannot be resized: PixelShuffle becomes RESHAPE and TRANSPOSE of fixed sizes. So every input size has a file
of its own, and calibration pieces, too, run at their own sizes: the network is converted once for each of them, and the
ranges, which the quantizer keeps by tensor name, are carried from one to the next and then to every file. The names do
not depend on the size. No piece is cropped, padded or left out.

Ranges are the quantizer's default, a moving average of each image's extremes: on SPANV2 it loses 1.03 / 0.69 dB (Set5 /
Set14), the extremes of all images 1.58 / 0.97 dB.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgesr.architecture import SRModel
from edgesr.artifact import INPUT_NAME, OUTPUT_NAME
from edgesr.export.peers.peer import PeerFile, float_batch, float_contract
from edgesr.progress import Progress
from edgesr.target import Layout

SIGNATURE = "serving_default"


class LiteRTTorch:
    """`litert_torch.convert`, then `ai_edge_quantizer.quantizer`."""

    name = "litert-torch"
    distributions: tuple[str, ...] = ("litert-torch", "ai-edge-quantizer")
    extra: str | None = "litert-torch"
    runner = "litert-xnnpack"
    settings = "static W8A8, per-channel, moving-average ranges, a file for each size"

    def quantize(
        self,
        model: SRModel,
        images: Sequence[NDArray[np.uint8]],
        sizes: Sequence[tuple[int, int]],
        folder: Path,
        progress: Progress,
    ) -> tuple[PeerFile, ...]:
        """One file for each size."""
        by_size: dict[tuple[int, int], list[dict[str, NDArray[np.float32]]]] = {}
        for image in images:
            batch = float_batch(image, model, Layout.NHWC)
            by_size.setdefault((image.shape[0], image.shape[1]), []).append({INPUT_NAME: batch})
        total = len(by_size) + len(sizes)
        ranges: Any = None
        for done, (size, batches) in enumerate(by_size.items()):
            progress("converting with litert-torch", done, total)
            float_path = convert(model, size, folder)
            ranges = quantizer_of(float_path).calibrate(
                {SIGNATURE: batches}, previous_calibration_result=ranges, num_threads=1
            )
        files = []
        for done, size in enumerate(sizes, start=len(by_size)):
            progress("converting with litert-torch", done, total)
            result = quantizer_of(convert(model, size, folder)).quantize(
                ranges, enable_progress_bar=False, enable_progress_report=False
            )
            path = folder / f"int8-{size[0]}x{size[1]}.tflite"
            path.write_bytes(result.quantized_model)
            files.append(PeerFile(path, float_contract(model, Layout.NHWC, size)))
        progress("converting with litert-torch", total, total)
        return tuple(files)


class ChannelsLast(nn.Module):
    """The network on images (1, H, W, C), with named input and output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map (1, H, W, C) to (1, sH, sW, C)."""
        return {OUTPUT_NAME: self.network(image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)}


def convert(model: SRModel, size: tuple[int, int], folder: Path) -> Path:
    """The float TFLite file for one input size (H, W), written unless it is there."""
    import litert_torch

    path = folder / f"float-{size[0]}x{size[1]}.tflite"
    if not path.exists():
        sample = {INPUT_NAME: torch.zeros(1, *size, model.in_channels)}
        litert_torch.convert(ChannelsLast(model.module).eval(), sample_kwargs=sample).export(str(path))
    return path


def quantizer_of(float_path: Path) -> Any:
    """The quantizer on a float file: its static W8A8 recipe with the edges left in float."""
    from ai_edge_quantizer import qtyping, quantizer, recipe

    made = quantizer.Quantizer(str(float_path))
    made.load_quantization_recipe(recipe.static_wi8_ai8())
    for edge in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        made.update_quantization_recipe(regex=".*", operation_name=edge, algorithm_key="no_quantize")
    return made
