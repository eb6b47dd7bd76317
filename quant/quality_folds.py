"""Folds that cost multiplications and are worth it in INT8: they spare a tensor that 8 bits cannot hold.

Composing two convolutions removes the tensor between them; composing a gate with the convolution before it spares the
gate that tensor's rounding; splitting a product by sign halves its step. All are exact in real arithmetic. Each is done
where quantizing that tensor alone brings the output image closer than a threshold to visible error.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from edgesr.export.folds.compose_convs import ComposeConvs
from edgesr.export.folds.fold import Fold
from edgesr.export.folds.gate_form import GateForm
from edgesr.export.folds.sign_split import SignSplit
from edgesr.export.pipeline import FoldRecord, run_folds
from edgesr.graph import Graph
from edgesr.ops import Op
from edgesr.progress import Progress, silent
from edgesr.quant.calibration import Calibration
from edgesr.quant.images import middles
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
    sensitive = _sensitive(graph, images, calibration, rule, between, threshold_db, progress)
    return run_folds(graph, (ComposeConvs(math.inf, past=sensitive), GateForm(past=sensitive)))


def split_sensitive(
    graph: Graph,
    images: Sequence[np.ndarray],
    calibration: Calibration,
    rule: RangeRule,
    threshold_db: float,
    progress: Progress = silent,
) -> tuple[Graph, list[FoldRecord]]:
    """The graph with every product split by sign that can be and that, quantized alone, gives less than that."""
    products = {op.name for op in _applicable(SignSplit(), graph)}
    return run_folds(
        graph, (SignSplit(past=_sensitive(graph, images, calibration, rule, products, threshold_db, progress)),)
    )


def _sensitive(
    graph: Graph,
    images: Sequence[np.ndarray],
    calibration: Calibration,
    rule: RangeRule,
    names: Collection[str],
    threshold_db: float,
    progress: Progress,
) -> frozenset[str]:
    """Those of the tensors that, quantized alone, bring the output below the threshold."""
    candidates = {name: QuantParams.from_range(*rule.bounds(calibration[name])) for name in sorted(names)}
    chosen = middles(images, MEASURED_IMAGES, MEASURED_SIDE, graph.size_multiple)
    scores = sensitivities_db(graph, chosen, candidates, progress)
    return frozenset(name for name, score in scores.items() if score < threshold_db)


def _applicable(fold: Fold, graph: Graph) -> list[Op]:
    return [op for op in graph if fold.considers(op) and fold.refuses(graph, op) is None]
