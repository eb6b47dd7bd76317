"""One stage of learning after the other, each ending with integer weights that can be compared and shipped.

A stage that moves channel scales starts where the one before ended. A stage with rounded weights starts from a student
whose first convolutions have the integers of the stage before, and rounds the others anew when it is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgesr.graph import Graph
from edgesr.ops import Convolution
from edgesr.progress import Progress
from edgesr.quant.gptq import round_with_gptq
from edgesr.quant.learning.fit import fit
from edgesr.quant.learning.material import Material
from edgesr.quant.learning.plan import FitPlan
from edgesr.quant.learning.student import NOTHING_ROUNDED, RoundedWeights, Student
from edgesr.quant.sequential import LayerInputs, refine
from edgesr.quant.weights import quantize_bias, quantize_weights
from edgesr.quantized import QuantizedGraph, QuantizedWeight, QuantParams


class Stages:
    """A student, what it has learned so far, and the network that the last stage gave."""

    def __init__(self, student: Student, material: Material, progress: Progress, saved: Path | None) -> None:
        self.student = student
        self.parameters = student.start
        self.material = material
        self.progress = progress
        self.saved = saved
        self.network: QuantizedGraph | None = None

    def run(self, plan: FitPlan) -> QuantizedGraph:
        """The network after one more stage; raises `DivergedError`."""
        kept = NOTHING_ROUNDED
        if plan.rounded_share:
            if self.network is None:
                raise ValueError(f"plan '{plan.name}' goes on from rounded weights, and no stage came before it")
            kept = first_weights(self.network, plan.rounded_share)
            self.student = Student(self.network.graph, self.network.activations, kept)
            self.parameters = self.student.start
        self.parameters = fit(self.student, self.parameters, self.material.patches, plan, self.progress, self.saved)
        graph, activations = self.student.learned(self.parameters)
        start = QuantizedGraph(
            graph, activations, quantize_weights(graph, activations) | _rebiased(graph, activations, kept)
        )
        self.network = refine(start, self.material.rounding, [_Rounding(kept)], self.progress)
        return self.network


class _Rounding:
    """GPTQ for all convolutions but those that keep their integers."""

    def __init__(self, kept: RoundedWeights) -> None:
        self.kept = kept

    def __call__(self, op: Convolution, weight: QuantizedWeight, inputs: LayerInputs) -> QuantizedWeight:
        """The integers of one convolution."""
        return weight if op.name in self.kept else round_with_gptq(op, weight, inputs)


def first_weights(network: QuantizedGraph, share: float) -> dict[str, QuantizedWeight]:
    """The integer weights of the first convolutions, in the order of the graph."""
    names = [op.name for op in network.graph if isinstance(op, Convolution)]
    return {name: network.weights[name] for name in names[: round(share * len(names))]}


def _rebiased(graph: Graph, activations: Mapping[str, QuantParams], kept: RoundedWeights) -> dict[str, QuantizedWeight]:
    """The kept weights with the biases that were learned, in steps of their inputs as they are now."""
    changed: dict[str, QuantizedWeight] = {}
    for name, weight in kept.items():
        op = graph.producer(name)
        assert isinstance(op, Convolution)
        bias = quantize_bias(op, weight.scales, activations[op.inputs[0]].scale)
        changed[name] = replace(weight, bias=bias)
    return changed
