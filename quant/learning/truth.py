"""Whether reduced photographs are what a network undoes, so that the photograph itself is a label worth learning from.

A network for classical super-resolution is nearer to the photograph than bicubic interpolation is. One that was trained
for another task (denoising, real-world degradations, pictures that please instead of being exact) need not be, and its
INT8 file must do what it does, not what the photograph would have.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edgesr.degradation import resized
from edgesr.graph import Graph
from edgesr.quant.calibration import to_tensor
from edgesr.quant.drop import byte_psnr_db
from edgesr.quant.images import spread
from edgesr.quant.photographs import LabelledImage

COMPARED_IMAGES = 12


def undoes_reduction(graph: Graph, pairs: Sequence[LabelledImage]) -> bool:
    """Whether the float network is nearer to the truth than bicubic interpolation, in mean PSNR; not without pairs."""
    if not pairs or graph.scale <= 1:
        return False
    crop, gains = int(graph.scale), []
    with torch.no_grad():
        for pair in spread(pairs, COMPARED_IMAGES):
            truth = to_tensor(pair.hr)
            output = graph.execute(to_tensor(pair.lr))
            gains.append(byte_psnr_db(output, truth, crop) - byte_psnr_db(_enlarged(pair), truth, crop))
    return sum(gains) > 0


def _enlarged(pair: LabelledImage) -> torch.Tensor:
    height, width = pair.hr.shape[:2]
    return to_tensor(resized(pair.lr, (height, width)))
