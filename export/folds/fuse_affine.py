"""Per-channel arithmetic with constants behind a convolution, folded into its weights and bias.

    s (W * x + b) + t  =  (s W) * x + (s b + t),        (s W)[o, i, k, l] = s[o] W[o, i, k, l]

where s and t hold one value for each channel o, or one for all. It acts at each position alone, so it is exact, border
included. This is how a batch norm in eval mode vanishes, and a factor like 0.1 before a residual sum.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from edgesr.export.folds.constant_operand import constant_operand, refused_operand
from edgesr.export.folds.fold import Fold
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Binary, Convolution, Mul, Op, Sub


class FuseAffine(Fold):
    """A product, sum or difference with a constant into the convolution that it reads."""

    name = "fuse-affine"

    def considers(self, op: Op) -> bool:
        """Elementwise products, sums and differences; whether with a constant is for `refuses`."""
        return isinstance(op, (Mul, Add, Sub))

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """No constant, a constant minus the image, no convolution before, an activation between, or another reader."""
        assert isinstance(op, Binary)
        if (why := refused_operand(graph, op)) is not None:
            return why
        source, _ = constant_operand(graph, op)
        conv = graph.producer(source)
        if not isinstance(conv, Convolution):
            return f"'{source}' is no convolution"
        if conv.activation is not Activation.NONE:
            return f"the activation of '{source}' lies between"
        if graph.sole_consumer(source) is not op:
            return f"'{source}' is read elsewhere too"
        return None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """Put the convolution that computes the result in the operator's place, named like the operator."""
        assert isinstance(op, Binary)
        source, values = constant_operand(graph, op)
        conv = graph.producer(source)
        assert isinstance(conv, Convolution)
        folded = (scaled if isinstance(op, Mul) else shifted)(conv, values.to(conv.weight))
        return graph.rewritten({op.name: (replace(folded, name=op.name, activation=op.activation),)})


def scaled(conv: Convolution, values: torch.Tensor) -> Convolution:
    """The convolution that computes values * conv."""
    bias = None if conv.bias is None else conv.bias * values
    return replace(conv, weight=conv.weight * values[:, None, None, None], bias=bias)


def shifted(conv: Convolution, values: torch.Tensor) -> Convolution:
    """The convolution that computes conv + values."""
    return replace(conv, bias=values.clone() if conv.bias is None else conv.bias + values)
