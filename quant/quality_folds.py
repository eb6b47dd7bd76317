"""Graph forms that cost multiplications and are worth it in INT8: they spare a tensor that 8 bits cannot hold.

Composing two convolutions removes the tensor between them; composing a gate with the convolution before it spares the
gate that tensor's rounding; splitting a product by sign halves its step. All are exact in real arithmetic. Each is done
where quantizing that tensor alone brings the output image closer than a threshold to visible error, the most error for
each multiplication first, as long as the graph's multiplications stay within a budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

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

MakeFolds = Callable[[frozenset[str]], tuple[Fold, ...]]
"""The folds that spare these tensors."""


@dataclass(frozen=True)
class FormChoice:
    """A tensor that another form of the graph would spare: PSNR in dB with it alone in 8 bits, and what that costs."""

    tensor: str
    alone_db: float
    added_macs_per_input_pixel: float
    taken: bool
    why: str


@dataclass(frozen=True, eq=False)
class FormRule:
    """Which tensors are spared: those below `threshold_db`, while MACs per input pixel stay within `max_macs`."""

    ranges: RangeRule
    threshold_db: float
    max_macs: float = math.inf


@dataclass(frozen=True, eq=False)
class Forms:
    """The graph in its new form, the folds that ran, and every choice that there was."""

    graph: Graph
    folds: tuple[FoldRecord, ...]
    choices: tuple[FormChoice, ...]


def compose_sensitive(
    graph: Graph, images: Sequence[np.ndarray], calibration: Calibration, rule: FormRule, progress: Progress = silent
) -> Forms:
    """The graph with the compositions that spare a sensitive tensor between convolutions, or before a gate."""
    pairs, gates = _applicable(ComposeConvs(math.inf), graph), _applicable(GateForm(), graph)
    between = {op.inputs[0] for op in (*pairs, *gates)}
    return _spare(graph, images, calibration, rule, between, _compositions, progress)


def split_sensitive(
    graph: Graph, images: Sequence[np.ndarray], calibration: Calibration, rule: FormRule, progress: Progress = silent
) -> Forms:
    """The graph with the sensitive products split by sign that can be."""
    products = {op.name for op in _applicable(SignSplit(), graph)}
    return _spare(graph, images, calibration, rule, products, lambda past: (SignSplit(past),), progress)


def _compositions(past: frozenset[str]) -> tuple[Fold, ...]:
    return ComposeConvs(math.inf, past), GateForm(past)


def _spare(
    graph: Graph, images: Sequence[np.ndarray], calibration: Calibration, rule: FormRule, names: Collection[str],
    folds: MakeFolds, progress: Progress,
) -> Forms:  # fmt: skip
    """The graph with the folds run for the chosen ones of the tensors."""
    candidates = {name: QuantParams.from_range(*rule.ranges.bounds(calibration[name])) for name in sorted(names)}
    chosen = middles(images, MEASURED_IMAGES, MEASURED_SIDE, graph.size_multiple)
    scores = sensitivities_db(graph, chosen, candidates, progress)
    choices = _choose(graph, scores, rule, folds)
    taken = frozenset(choice.tensor for choice in choices if choice.taken)
    folded, records = run_folds(graph, folds(taken))
    return Forms(folded, tuple(records), tuple(choices))


def _choose(graph: Graph, scores: dict[str, float], rule: FormRule, folds: MakeFolds) -> list[FormChoice]:
    """Every tensor, the most error for each added multiplication first."""
    before = float(graph.macs_per_input_pixel())
    added = {name: _macs_of(graph, folds(frozenset({name}))) - before for name in scores}

    def error_per_mac(name: str) -> float:
        return math.inf if added[name] <= 0 else float(10 ** (-scores[name] / 10) / added[name])

    choices: list[FormChoice] = []
    total = before
    for name in sorted(scores, key=error_per_mac, reverse=True):
        why = f"alone it is below {rule.threshold_db:.1f} dB"
        taken = scores[name] < rule.threshold_db
        if not taken:
            why = f"alone it is not below {rule.threshold_db:.1f} dB"
        elif added[name] > 0 and total + added[name] > rule.max_macs:
            taken, why = False, f"the graph would have more than {rule.max_macs:,.0f} MACs per input pixel"
        if taken:
            total += added[name]
        choices.append(FormChoice(name, scores[name], added[name], taken, why))
    return choices


def _macs_of(graph: Graph, folds: tuple[Fold, ...]) -> float:
    return float(run_folds(graph, folds)[0].macs_per_input_pixel())


def _applicable(fold: Fold, graph: Graph) -> list[Op]:
    return [op for op in graph if fold.considers(op) and fold.refuses(graph, op) is None]
