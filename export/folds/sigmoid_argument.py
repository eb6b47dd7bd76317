"""The argument of a sigmoid (or tanh) made by a convolution of its own.

    x = C y,  p = x * sigmoid(x)    ->    x = C y,  v = C y,  p = x * sigmoid(v)

Exact: v is x. In 8 bits it is worth its multiplications where x is wide: a sigmoid fixes the scale of every channel of
what it reads, so SiLU's argument cannot be equalized, and its product cannot either. With an argument apart, x and p
share channel scales that convolutions absorb (`quant.channel_scales`), and v needs a grid over the few units in which
a sigmoid changes at all. The same holds for SPAN's gate, (f + x) * (sigmoid(f) - 1/2).
"""

from __future__ import annotations

from dataclasses import replace

from edgesr.export.folds.fold import Fold
from edgesr.graph import Graph
from edgesr.ops import Convolution, Op, Sigmoid, Tanh


class SigmoidArgument(Fold):
    """Sigmoids that read a convolution which others read too; that convolution is made twice.

    `past` names the tensors that sigmoids are to leave to their other readers, None all of them.
    """

    name = "sigmoid-argument"

    def __init__(self, past: frozenset[str] | None = None) -> None:
        self.past = past

    def considers(self, op: Op) -> bool:
        """Functions with an S-shaped curve: their argument matters within a few units alone."""
        return isinstance(op, (Sigmoid, Tanh))

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """Not asked for, no convolution before, or nobody else who would be free of the function's grid."""
        (source,) = op.inputs
        if self.past is not None and source not in self.past:
            return f"'{source}' is not among the tensors to read apart"
        if not isinstance(graph.producer(source), Convolution):
            return f"'{source}' is no convolution"
        if source == graph.output or len(graph.consumers[source]) == 1:
            return f"'{source}' is read by nothing else that computes"
        return None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """The convolution once more under a name of its own, right before the function."""
        first = graph.producer(op.inputs[0])
        assert isinstance(first, Convolution)
        apart = replace(first, name=f"{op.name}.argument")
        return graph.rewritten({op.name: (apart, replace(op, inputs=(apart.name,)))})
