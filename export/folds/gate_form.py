"""The gate of a SPABV2 block read straight from the features before the block's last convolution.

    f3 = C f2 (+ c),  g = W f3 + b    ->    g = (W C) f2 + (W c + b)

Exact, border included, because W is 1x1 (see compose-convs). f3 is still needed for the sum x + f3, so this is a trade:
a 3x3 convolution in place of a 1x1 one, against a gate that no longer sees f3's rounding. In SPANV2 it pays in INT8 in
the last block, whose f3 spans ten times the range of the others; in float it only costs.
"""

from __future__ import annotations

from edgesr.export.folds.compose_convs import composed, is_pointwise
from edgesr.export.folds.fold import Fold
from edgesr.graph import Graph
from edgesr.ops import Activation, Convolution, Mul, Op


class GateForm(Fold):
    """1x1 gate convolutions composed with the convolution before, which stays for its other readers.

    `past` names the tensors that gates are to read past, None all of them.
    """

    name = "gate-form"

    def __init__(self, past: frozenset[str] | None = None) -> None:
        self.past = past

    def considers(self, op: Op) -> bool:
        """1x1 convolutions."""
        return isinstance(op, Convolution) and is_pointwise(op)

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """Not asked for, no gate (read by a product alone), or nothing to compose with."""
        assert isinstance(op, Convolution)
        if self.past is not None and op.inputs[0] not in self.past:
            return f"'{op.inputs[0]}' is not among the tensors to read past"
        if not isinstance(graph.sole_consumer(op.name), Mul):
            return "its result is no gate: it is not read by one product alone"
        first = graph.producer(op.inputs[0])
        if not isinstance(first, Convolution):
            return f"'{op.inputs[0]}' is no convolution"
        if first.activation is not Activation.NONE:
            return f"the activation of '{first.name}' lies between"
        return None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """Compose with the producer, which stays for its other readers."""
        first = graph.producer(op.inputs[0])
        assert isinstance(first, Convolution) and isinstance(op, Convolution)
        return graph.rewritten({op.name: (composed(first, op),)})
