"""Two convolutions with nothing between them as one.

A 1x1 convolution P (bias q) after any convolution W (bias b):

    P (W * x + b) + q = (P W) * x + (P b + q),        (P W)[o, i] = sum_m P[o, m] W[m, i]

Exact, border included: P acts at each position alone, so W's zero padding is untouched. A depthwise W is made dense
first. A convolution W after a 1x1 convolution P without bias is the mirror image, (W P)[o, i] = sum_m W[o, m] P[m, i],
exact because P maps the zero padding to zero; with a bias it holds only where W pads nothing.

Composing removes a rounding of the tensor between, which is what INT8 wants, but may cost more multiplications:
`max_growth` bounds MACs after over MACs before.
"""

from __future__ import annotations

import torch

from edgesr.export.folds.densify_grouped_conv import dense_weight
from edgesr.export.folds.fold import Fold
from edgesr.graph import Graph
from edgesr.ops import Activation, Conv2d, Convolution, Op


class ComposeConvs(Fold):
    """A convolution pair, one of them 1x1, to one convolution, when MACs grow at most `max_growth` times.

    `past` names the tensors between pairs that are to go, None all of them.
    """

    name = "compose-convs"

    def __init__(self, max_growth: float = 1.0, past: frozenset[str] | None = None) -> None:
        self.max_growth = max_growth
        self.past = past

    def considers(self, op: Op) -> bool:
        """The second convolution of a pair; whether there is a first one is for `refuses`."""
        return isinstance(op, Convolution)

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """No pair, a nonlinearity or another reader between, neither 1x1, a bias meeting padding, or too costly."""
        assert isinstance(op, Convolution)
        if self.past is not None and op.inputs[0] not in self.past:
            return f"'{op.inputs[0]}' is not among the tensors to read past"
        first = graph.producer(op.inputs[0])
        if not isinstance(first, Convolution):
            return f"'{op.inputs[0]}' is no convolution"
        if first.activation is not Activation.NONE:
            return f"the activation of '{first.name}' lies between"
        if graph.sole_consumer(first.name) is not op:
            return f"'{first.name}' is read elsewhere too"
        if not is_pointwise(op):
            if not is_pointwise(first):
                return f"neither '{first.name}' nor '{op.name}' is a 1x1 convolution"
            if first.bias is not None and op.padding != (0, 0):
                return f"the bias of '{first.name}' meets the zero padding of '{op.name}'"
        growth = growth_of(graph, first, op)
        if growth > self.max_growth:
            return f"multiplications would grow {growth:.2f} times, more than {self.max_growth:g}"
        return None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """Put the composed convolution in the second one's place; the first is then read by nobody."""
        first = graph.producer(op.inputs[0])
        assert isinstance(first, Convolution) and isinstance(op, Convolution)
        return graph.rewritten({op.name: (composed(first, op),)})


def growth_of(graph: Graph, first: Convolution, second: Convolution) -> float:
    """MACs of the composed convolution over those of the pair, whose outputs may differ in size."""
    area = [(graph.specs[op.name].scale or 1) ** 2 for op in (first, second)]
    before = first.macs_per_position() * area[0] + second.macs_per_position() * area[1]
    return float(composed(first, second).macs_per_position() * area[1] / before)


def is_pointwise(op: Convolution) -> bool:
    """Whether the convolution sees one position alone, at every position."""
    return op.kernel == (1, 1) and op.stride == (1, 1) and op.padding == (0, 0)


def composed(first: Convolution, second: Convolution) -> Conv2d:
    """One convolution for `second` after `first`, at least one of them pointwise; named like the second."""
    a, b = dense_weight(first), dense_weight(second)
    if is_pointwise(second):
        weight, shape = torch.einsum("om,mikl->oikl", b[:, :, 0, 0], a), first
    else:
        weight, shape = torch.einsum("omkl,mi->oikl", b, a[:, :, 0, 0]), second
    carried = None if first.bias is None else torch.einsum("omkl,m->o", b, first.bias)
    biases = [bias for bias in (carried, second.bias) if bias is not None]
    return Conv2d(
        name=second.name, inputs=first.inputs, weight=weight, bias=torch.stack(biases).sum(0) if biases else None,
        stride=shape.stride, padding=shape.padding, dilation=shape.dilation, activation=second.activation,
    )  # fmt: skip
