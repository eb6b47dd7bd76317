"""Choosing between quantizations of one network: by how close each comes to the float network on images kept for that.

The images are held-out ones and, one for every three of them, hard ones (see hard_images): what looks best on
photographs alone may clip on screens and text. The score is the mean PSNR in dB of exact integer arithmetic to the
clipped float output. Images that anybody reports figures on never come here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edgesr.graph import Graph
from edgesr.images import Image8
from edgesr.progress import Progress, silent
from edgesr.quant.calibration import to_tensor
from edgesr.quantized import QuantizedGraph

BEST_DB = 80.0
"""What an image counts that is met exactly, as flat black may be: no more, or it alone would decide the mean."""


class Selection:
    """Images and what the float network makes of them."""

    def __init__(self, graph: Graph, images: Sequence[Image8]) -> None:
        self.inputs = [to_tensor(image) for image in images]
        with torch.no_grad():
            self.outputs = [graph.execute(x).clamp(0, 1) for x in self.inputs]

    def score_db(self, network: QuantizedGraph, progress: Progress = silent) -> float:
        """Mean PSNR in dB to the float output; minus infinity where a value is no number."""
        scores: list[torch.Tensor] = []
        with torch.no_grad():
            for done, (x, expected) in enumerate(zip(self.inputs, self.outputs, strict=True)):
                progress("comparing quantizations", done, len(self.inputs))
                error = (network.execute(x).clamp(0, 1) - expected).square().mean()
                scores.append((-10 * torch.log10(error)).clamp_max(BEST_DB))
        progress("comparing quantizations", len(self.inputs), len(self.inputs))
        mean = torch.stack(scores).mean().item()
        return mean if mean == mean else -float("inf")
