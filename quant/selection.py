"""Choosing between quantizations of one network on images kept for that: held-out ones, and hard ones made of them.

What looks best on photographs alone may clip on screens and text, so hard images (see hard_images) count a quarter.
Images that anybody reports figures on never come here. All judges compute in exact integer arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from edgesr.graph import Graph
from edgesr.images import Image8
from edgesr.progress import Progress, silent
from edgesr.quant.calibration import to_tensor
from edgesr.quant.drop import byte_psnr_db
from edgesr.quant.photographs import LabelledImage
from edgesr.quantized import QuantizedGraph

BEST_DB = 80.0
"""What an image counts that is met exactly, as flat black may be: no more, or it alone would decide the mean."""
HARD_WEIGHT = 0.25
COMPARING = "comparing quantizations"


class Judge(Protocol):
    """Scores networks in dB, the better the higher; minus infinity where a value is no number."""

    measures: str

    def score_db(self, network: QuantizedGraph, progress: Progress = silent) -> float:
        """The score of one network."""


class Closeness:
    """Mean PSNR in dB to the clipped float output: for networks and images that have no truth."""

    measures = "PSNR to the float network"

    def __init__(self, graph: Graph, images: Sequence[Image8]) -> None:
        self.inputs = [to_tensor(image) for image in images]
        with torch.no_grad():
            self.outputs = [graph.execute(x).clamp(0, 1) for x in self.inputs]

    def score_db(self, network: QuantizedGraph, progress: Progress = silent) -> float:
        """Mean over the images."""
        scores: list[Tensor] = []
        with torch.no_grad():
            for done, (x, expected) in enumerate(zip(self.inputs, self.outputs, strict=True)):
                progress(COMPARING, done, len(self.inputs))
                error = (network.execute(x).clamp(0, 1) - expected).square().mean()
                scores.append((-10 * torch.log10(error)).clamp_max(BEST_DB))
        progress(COMPARING, len(self.inputs), len(self.inputs))
        return _number(torch.stack(scores).mean().item())


class Faithfulness:
    """PSNR in dB to the truth, beside the float network's: the drop that a user will measure, its sign changed.

    The mean over photographs; hard images, all of one size, are judged as one picture, because a flat drawing that the
    float network meets exactly has no drop to speak of.
    """

    measures = "PSNR to the truth, less the float network's"

    def __init__(self, graph: Graph, photographs: Sequence[LabelledImage], hard: Sequence[LabelledImage]) -> None:
        self.crop = int(graph.scale)
        self.pairs = [(to_tensor(image.lr), to_tensor(image.hr)) for image in photographs]
        self.pairs.append((torch.cat([to_tensor(x.lr) for x in hard]), torch.cat([to_tensor(x.hr) for x in hard])))
        share = (1 - HARD_WEIGHT) / len(photographs)
        self.weights = [share] * len(photographs) + [HARD_WEIGHT]
        with torch.no_grad():
            self.float_db = [byte_psnr_db(graph.execute(x), truth, self.crop) for x, truth in self.pairs]

    def score_db(self, network: QuantizedGraph, progress: Progress = silent) -> float:
        """The weighted mean over photographs and hard images."""
        score = 0.0
        with torch.no_grad():
            for done, (x, truth) in enumerate(self.pairs):
                progress(COMPARING, done, len(self.pairs))
                gain = byte_psnr_db(network.execute(x), truth, self.crop) - self.float_db[done]
                score += self.weights[done] * gain
        progress(COMPARING, len(self.pairs), len(self.pairs))
        return _number(score)


def _number(score: float) -> float:
    return score if score == score else -float("inf")
