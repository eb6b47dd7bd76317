"""Folds that cost multiplications and are worth it in INT8: they spare a tensor that 8 bits cannot hold.

Composing two convolutions removes the tensor between them; composing a gate with the convolution before it spares the
gate that tensor's rounding. Both are exact in real arithmetic. Each is done where quantizing that tensor alone brings
the output image closer than a threshold to visible error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgesr.export.folds.compose_convs import ComposeConvs
from edgesr.export.folds.fold import Fold
from edgesr.export.folds.gate_form import GateForm
from edgesr.export.pipeline import FoldRecord, run_folds
from edgesr.graph import Graph
from edgesr.ops import Op
from edgesr.progress import Progress, silent
from edgesr.quant.calibration import Calibration
from edgesr.quant.ranges import RangeRule
from edgesr.quant.sensitivity import sensitivities_db
from edgesr.quantized import QuantParams

MEASURED_IMAGES = 8
MEASURED_SIDE = 64


def compose_sensitive(
    graph: Graph,
    images: Sequence[np.ndarray],
    calibration: Calibration,
    rule: RangeRule,
    threshold_db: float,
    progress: Progress = silent,
) -> tuple[Graph, list[FoldRecord]]:
    """The graph with every composition whose intermediate tensor, quantized alone, gives less than `threshold_db`."""
    pairs, gates = _applicable(ComposeConvs(math.inf), graph), _applicable(GateForm(), graph)
    between = {op.inputs[0] for op in (*pairs, *gates)}
    candidates = {name: QuantParams.from_range(*rule.bounds(calibration[name])) for name in sorted(between)}
    chosen = [_middle(image) for image in images[:: max(1, len(images) // MEASURED_IMAGES)][:MEASURED_IMAGES]]
    scores = sensitivities_db(graph, chosen, candidates, progress)
    sensitive = {name for name, score in scores.items() if score < threshold_db}
    folds = (
        ComposeConvs(math.inf, frozenset(op.name for op in pairs if op.inputs[0] in sensitive)),
        GateForm(frozenset(op.name for op in gates if op.inputs[0] in sensitive)),
    )
    return run_folds(graph, folds)


def _middle(image: np.ndarray) -> np.ndarray:
    """The middle of an image (H, W, C), at most 64 pixels a side."""
    top, left = (max(0, (n - MEASURED_SIDE) // 2) for n in image.shape[:2])
    return image[top : top + MEASURED_SIDE, left : left + MEASURED_SIDE]


def _applicable(fold: Fold, graph: Graph) -> list[Op]:
    return [op for op in graph if fold.considers(op) and fold.refuses(graph, op) is None]
