"""Folds that cost multiplications and are worth it in INT8: they spare a tensor that 8 bits cannot hold.

Composing two convolutions removes the tensor between them; composing a gate with the convolution before it spares the
gate that tensor's rounding. Both are exact in real arithmetic. Each is done where quantizing that tensor alone brings
the output image closer than a threshold to visible error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

import numpy as np

from edgesr.export.folds.compose_convs import ComposeConvs
from edgesr.export.folds.fold import Fold
from edgesr.export.folds.gate_form import GateForm
from edgesr.export.pipeline import FoldRecord, run_folds
from edgesr.graph import Graph
from edgesr.ops import Op
from edgesr.progress import Progress, silent
from edgesr.quant.calibration import Calibration
from edgesr.quant.images import centre
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
    chosen = [centre(image, graph.size_multiple, MEASURED_SIDE) for image in _some(images)]
    scores = sensitivities_db(graph, chosen, candidates, progress)
    sensitive = {name for name, score in scores.items() if score < threshold_db}
    return run_folds(graph, (_Past(ComposeConvs(math.inf), sensitive), _Past(GateForm(), sensitive)))


class _Past(Fold):
    """Another fold, only at operators that read one of some tensors: it lets them read past it."""

    def __init__(self, fold: Fold, tensors: Set[str]) -> None:
        self.name = fold.name
        self.exactness = fold.exactness
        self.fold = fold
        self.tensors = tensors

    def considers(self, op: Op) -> bool:
        """What the other fold considers."""
        return self.fold.considers(op)

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """The operator reads none of the tensors, or the other fold refuses."""
        if op.inputs[0] not in self.tensors:
            return f"'{op.inputs[0]}' is not sensitive"
        return self.fold.refuses(graph, op)

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """The other fold's rewriting."""
        return self.fold.rewrite(graph, op)


def _some(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """At most eight images, spread over all."""
    count = min(MEASURED_IMAGES, len(images))
    return [images[i * len(images) // count] for i in range(count)]


def _applicable(fold: Fold, graph: Graph) -> list[Op]:
    return [op for op in graph if fold.considers(op) and fold.refuses(graph, op) is None]
