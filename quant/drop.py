"""What quantization costs in picture quality: decibels lost against the float network on photographs with labels.

PSNR over RGB bytes, as many border pixels left out as the scale (none at scale 1), by the challenge's protocol. The
quantized network is computed in exact integer arithmetic (`QuantizedGraph.execute`), in float32: a runtime differs by
single steps.

A data set of other content may lose more than the photographs at hand: smooth pictures with sharp edges and graphics
have a high PSNR to begin with, and the same rounding costs them more. The converters in use lose 2.2 times as much on
Set5 as on the photographs of BSD100 (1.19 to 0.54 dB, litert-torch with ai-edge-quantizer). So the drop that a budget
is held against is not the mean over all images but the mean over the quarter of them that lose most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgesr.errors import CalibrationError
from edgesr.graph import Graph
from edgesr.quant.calibration import to_tensor
from edgesr.quant.photographs import LabelledImage
from edgesr.quantized import QuantizedGraph

JUDGED_SHARE = 0.25
LEAST_ERROR = 1e-3
"""In squared bytes: an output equal to its label would have an infinite PSNR and no drop could be told."""


@dataclass(frozen=True)
class Drop:
    """The decibels that each image loses; negative where it gains."""

    by_image: tuple[float, ...]

    @property
    def mean_db(self) -> float:
        """Over all images."""
        return sum(self.by_image) / len(self.by_image)

    @property
    def judged_db(self) -> float:
        """Over the quarter that loses most, at least one image: what a budget is held against."""
        worst = sorted(self.by_image, reverse=True)[: math.ceil(len(self.by_image) * JUDGED_SHARE)]
        return sum(worst) / len(worst)


class DropMeter:
    """Labelled images and how the float network does on them."""

    def __init__(self, graph: Graph, images: Sequence[LabelledImage]) -> None:
        if not images:
            raise CalibrationError(
                "no image is large enough to measure a drop on; give photographs of 128x128 or more with --calib"
            )
        self._crop = int(graph.scale) if graph.scale > 1 else 0
        self._inputs = [to_tensor(image.lr) for image in images]
        self._labels = [to_tensor(image.hr) for image in images]
        self._float_db = self._psnrs(graph.execute)

    def measure(self, network: QuantizedGraph) -> Drop:
        """The drop of a quantized network on every image."""
        found = self._psnrs(network.execute)
        return Drop(tuple(a - b for a, b in zip(self._float_db, found, strict=True)))

    def _psnrs(self, execute: Callable[[Tensor], Tensor]) -> list[float]:
        with torch.no_grad():
            pairs = zip(self._inputs, self._labels, strict=True)
            return [byte_psnr_db(execute(x), label, self._crop) for x, label in pairs]


def byte_psnr_db(image: Tensor, label: Tensor, crop: int) -> float:
    """PSNR of two images (1, C, H, W) in [0, 1], both as bytes."""
    difference = torch.round(255 * image.clamp(0, 1)) - torch.round(255 * label)
    inside = slice(crop, -crop or None)
    error = difference[:, :, inside, inside].double().square().mean().item()
    return 10 * math.log10(255**2 / max(error, LEAST_ERROR))
