"""Joins that are worth taking apart in INT8: a 1x1 convolution of a Concat as a sum (see the fold split-concat).

Everything that a Concat joins shares one grid, and so do its parts wherever else they are read: what is small drowns.
Apart, each part has a grid of its own, and each partial sum is one more tensor to be rounded. Both sides are measured
on the output image, in error power: the parts rounded to the common grid, one after the other, against the parts
rounded to their own and the convolution's result as often as there are partial sums and parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from edgesr.export.folds.split_concat import SplitConcat
from edgesr.export.pipeline import run_folds
from edgesr.graph import Graph
from edgesr.ops import Concat, Op
from edgesr.progress import Progress, silent
from edgesr.quant.calibration import Calibration
from edgesr.quant.images import middles
from edgesr.quant.quality_folds import MEASURED_IMAGES, MEASURED_SIDE, FormChoice, Forms
from edgesr.quant.ranges import RangeRule
from edgesr.quant.sensitivity import sensitivities_db
from edgesr.quantized import QuantParams


def split_joins(
    graph: Graph, images: Sequence[np.ndarray], calibration: Calibration, rule: RangeRule, progress: Progress = silent
) -> Forms:
    """Take every join apart whose common grid costs more than the sums that replace it."""
    readers = {op.inputs[0]: op for op in graph if _could_be_apart(graph, op)}
    if not readers:
        return Forms(graph, (), ())
    pieces = middles(images, MEASURED_IMAGES, MEASURED_SIDE, graph.size_multiple)

    def errors(candidates: Mapping[str, QuantParams]) -> dict[str, float]:
        scores = sensitivities_db(graph, pieces, candidates, progress)
        return {name: 10 ** (-db / 10) for name, db in scores.items()}

    bounds = {name: rule.bounds(calibration[name]) for name in graph.specs}
    own = {x: bounds[x] for join, reader in readers.items() for x in (*_parts(graph, join), reader.name)}
    apart = errors({name: QuantParams.from_range(*ends) for name, ends in own.items()})
    choices = []
    for join, reader in readers.items():
        parts = _parts(graph, join)
        together = errors(dict.fromkeys(parts, QuantParams.from_range(*_widest([bounds[x] for x in parts]))))
        shared, alone = sum(together.values()), sum(apart[x] for x in parts) + 2 * (len(parts) - 1) * apart[reader.name]
        why = f"apart its parts and their sums are at {_db(alone):.1f} dB"
        choices.append(FormChoice(join, _db(shared), 0.0, shared > alone, why))
    taken = frozenset(choice.tensor for choice in choices if choice.taken)
    graph, records = run_folds(graph, (SplitConcat(taken),)) if taken else (graph, [])
    return Forms(graph, tuple(records), tuple(choices))


def _could_be_apart(graph: Graph, op: Op) -> bool:
    fold = SplitConcat(frozenset(op.inputs))
    return fold.considers(op) and fold.refuses(graph, op) is None


def _parts(graph: Graph, join: str) -> tuple[str, ...]:
    producer = graph.producer(join)
    assert isinstance(producer, Concat)
    return producer.inputs


def _widest(bounds: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def _db(error: float) -> float:
    return -10 * math.log10(error)
