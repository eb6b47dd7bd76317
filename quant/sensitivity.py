"""What quantizing one tensor alone costs, measured on the output image against the float graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from edgesr.graph import Graph, Observer
from edgesr.progress import Progress, silent
from edgesr.quant.calibration import to_tensor
from edgesr.quantized import QuantParams


def sensitivities_db(
    graph: Graph, images: Sequence[np.ndarray], candidates: Mapping[str, QuantParams], progress: Progress = silent
) -> dict[str, float]:
    """PSNR in dB (peak 1, over all images) to the float output with each candidate tensor alone quantized."""
    inputs = [to_tensor(image) for image in images]
    scores: dict[str, float] = {}
    with torch.no_grad():
        references = [graph.execute(x) for x in inputs]
        for done, (name, params) in enumerate(candidates.items()):
            progress("measuring sensitivity", done, len(candidates))
            outputs = [graph.execute(x, _rounding(name, params)) for x in inputs]
            error = torch.stack([(y - r).square().mean() for y, r in zip(outputs, references, strict=True)]).mean()
            scores[name] = -10 * torch.log10(error.clamp_min(1e-20)).item()
    progress("measuring sensitivity", len(candidates), len(candidates))
    return scores


def _rounding(chosen: str, params: QuantParams) -> Observer:
    def observe(name: str, x: Tensor) -> Tensor:
        return params.dequantize(params.quantize(x)) if name == chosen else x

    return observe
