"""Graph forms that cost multiplications and are worth it in INT8: they spare a tensor that 8 bits cannot hold.

Composing two convolutions removes the tensor between them; composing a gate with the convolution before it spares the
gate that tensor's rounding; a sigmoid's argument of its own frees what it was read from, and the product, to be
equalized; splitting a product by sign halves its step. All are exact in real arithmetic. Each is done
where quantizing that tensor alone brings the output image closer than a threshold to visible error, the most error for
each multiplication first, as long as the graph's multiplications stay within a budget.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgesr.export.folds.compose_convs import ComposeConvs
from edgesr.export.folds.fold import Fold
from edgesr.export.folds.gate_form import GateForm
from edgesr.export.folds.sigmoid_argument import SigmoidArgument
from edgesr.export.folds.sign_split import SignSplit
from edgesr.export.pipeline import FoldRecord, run_folds
from edgesr.graph import Graph
from edgesr.ops import Mul, Op
from edgesr.progress import Progress, silent
from edgesr.quant.calibration import Calibration
from edgesr.quant.images import middles
from edgesr.quant.ranges import RangeRule, needed_bounds
from edgesr.quant.sensitivity import sensitivities_db
from edgesr.quantized import QuantParams

MEASURED_IMAGES = 8
MEASURED_SIDE = 64
MOST_OF_A_RANGE = 0.75
"""Splitting a product brings 20 log10 of the whole range over its larger side: 2.5 dB here, hardly any for a SiLU."""


@dataclass(frozen=True)
class FormChoice:
    """A tensor that another form of the graph would spare: PSNR in dB with it alone in 8 bits, and what that costs.

    Where the form is a sigmoid's argument apart, the products that it frees count with the tensor.
    """

    tensor: str
    alone_db: float
    added_macs_per_input_pixel: float
    taken: bool
    why: str


@dataclass(frozen=True, eq=False)
class FormRule:
    """Which tensors are spared: those below `threshold_db`, while MACs per input pixel stay within `max_macs`.

    Products are only split where `split` says so, and the larger sign takes at most `MOST_OF_A_RANGE` of their range.
    """

    ranges: RangeRule
    threshold_db: float
    max_macs: float = math.inf
    split: bool = False


@dataclass(frozen=True, eq=False)
class Forms:
    """The graph in its new form, the folds that ran, and every choice that there was."""

    graph: Graph
    folds: tuple[FoldRecord, ...]
    choices: tuple[FormChoice, ...]


def choose_forms(
    graph: Graph, images: Sequence[np.ndarray], calibration: Calibration, rule: FormRule, progress: Progress = silent
) -> Forms:
    """The graph with the forms that spare its sensitive tensors.

    A product's readers may have to be composed before it can be split: what splitting costs is counted on the graph
    with every composition done, and a product that cannot be split in the end is left whole.
    """
    names = _between(graph)
    composed = run_folds(graph, _compositions(names))[0]
    splittable = {op.name for op in _applicable(SignSplit(), composed)} if rule.split else set()
    products = {name for name in splittable if _is_two_sided(*rule.ranges.bounds(calibration[name]))}
    before, dense = float(graph.macs_per_input_pixel()), float(composed.macs_per_input_pixel())
    added = {name: _macs_of(graph, _compositions(frozenset({name}))) - before for name in names}
    added |= {name: _macs_of(composed, _splits(frozenset({name}))) - dense for name in products}
    scores = _scores(graph, images, calibration, rule, added, progress)
    choices = _choose(before, added, scores, rule)
    taken = frozenset(choice.tensor for choice in choices if choice.taken)
    graph, compositions = run_folds(graph, _compositions(taken & names))
    graph, splits = run_folds(graph, _splits(taken & products))
    done = {name for record in splits for name in record.changed}
    left = {name: _left_whole(graph, name) for name in taken & products - done}
    return Forms(graph, (*compositions, *splits), tuple(_corrected(choice, left) for choice in choices))


def _between(graph: Graph) -> frozenset[str]:
    """Tensors between two convolutions or before a gate that can read past them, and arguments of sigmoids."""
    folds = ComposeConvs(math.inf), GateForm(), SigmoidArgument()
    return frozenset(op.inputs[0] for fold in folds for op in _applicable(fold, graph))


def _compositions(past: frozenset[str]) -> tuple[Fold, ...]:
    return ComposeConvs(math.inf, past), GateForm(past), SigmoidArgument(past)


def _splits(past: frozenset[str]) -> tuple[Fold, ...]:
    return (SignSplit(past),)


def _is_two_sided(low: float, high: float) -> bool:
    return max(-low, high) <= MOST_OF_A_RANGE * (max(high, 0.0) - min(low, 0.0))


def _scores(
    graph: Graph, images: Sequence[np.ndarray], calibration: Calibration, rule: FormRule, names: Collection[str],
    progress: Progress,
) -> dict[str, float]:  # fmt: skip
    """PSNR in dB with each tensor alone quantized, with those that its form frees, too."""
    freed = {name: _freed(graph, name) for name in sorted(names)}
    candidates = {
        name: QuantParams.from_range(*needed_bounds(graph, name, rule.ranges.bounds(calibration[name])))
        for name in dict.fromkeys((*freed, *(x for some in freed.values() for x in some)))
    }
    chosen = middles(images, MEASURED_IMAGES, MEASURED_SIDE, graph.size_multiple)
    alone_db = sensitivities_db(graph, chosen, candidates, progress)
    return {name: _together_db([alone_db[x] for x in (name, *some)]) for name, some in freed.items()}


def _freed(graph: Graph, name: str) -> tuple[str, ...]:
    """The products of a tensor with its own sigmoid, whose channels a sigmoid's argument apart would free."""
    sigmoids = {op.name for op in _applicable(SigmoidArgument(frozenset({name})), graph)}
    shifted = {op.name for s in sigmoids for op in graph.consumers[s] if not isinstance(op, Mul)}
    return tuple(op.name for op in graph if isinstance(op, Mul) and set(op.inputs) & (sigmoids | shifted))


def _together_db(alone_db: Sequence[float]) -> float:
    """The PSNR of errors that add up."""
    return -10 * math.log10(sum(10 ** (-db / 10) for db in alone_db))


def _choose(before: float, added: Mapping[str, float], scores: Mapping[str, float], rule: FormRule) -> list[FormChoice]:
    """Every tensor, the most error for each added multiplication first."""

    def error_per_mac(name: str) -> float:
        return math.inf if added[name] <= 0 else float(10 ** (-scores[name] / 10) / added[name])

    choices: list[FormChoice] = []
    total = before
    for name in sorted(sorted(scores), key=error_per_mac, reverse=True):
        why = f"alone it is below {rule.threshold_db:.1f} dB"
        taken = scores[name] < rule.threshold_db
        if not taken:
            why = f"alone it is not below {rule.threshold_db:.1f} dB"
        elif added[name] > 0 and total + added[name] > rule.max_macs:
            taken, why = False, f"the graph would have more than {rule.max_macs:,.0f} MACs per input pixel"
        total += added[name] if taken else 0
        choices.append(FormChoice(name, scores[name], added[name], taken, why))
    return choices


def _left_whole(graph: Graph, name: str) -> str:
    """Why a product was not split after all."""
    op = graph.producer(name)
    assert op is not None  # a product is never composed away
    return SignSplit().refuses(graph, op) or "it was not split"


def _corrected(choice: FormChoice, left: Mapping[str, str]) -> FormChoice:
    return replace(choice, taken=False, why=left[choice.tensor]) if choice.tensor in left else choice


def _macs_of(graph: Graph, folds: tuple[Fold, ...]) -> float:
    return float(run_folds(graph, folds)[0].macs_per_input_pixel())


def _applicable(fold: Fold, graph: Graph) -> list[Op]:
    return [op for op in graph if fold.considers(op) and fold.refuses(graph, op) is None]
