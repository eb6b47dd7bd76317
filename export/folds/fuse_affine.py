"""Per-channel arithmetic with constants behind a convolution, folded into its weights and bias.

    s (W * x + b) + t  =  (s W) * x + (s b + t),        (s W)[o, i, k, l] = s[o] W[o, i, k, l]

where s and t hold one value for each channel o, or one for all. It acts at each position alone, so it is exact, border
included. This is how a batch norm in eval mode vanishes, and a factor like 0.1 before a residual sum.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from edgesr.export.folds.fold import Fold
from edgesr.export.folds.fuse_input_range import constant_position, signed
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Binary, Constant, Convolution, Mul, Op, Sub


class FuseAffine(Fold):
    """A product, sum or difference with a constant into the convolution that it reads."""

    name = "fuse-affine"

    def considers(self, op: Op) -> bool:
        """Elementwise products, sums and differences; whether with a constant is for `refuses`."""
        return isinstance(op, (Mul, Add, Sub))

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """No constant, a constant minus the image, no convolution before, an activation between, or another reader."""
        assert isinstance(op, Binary)
        position = constant_position(graph, op)
        if position is None:
            return "neither operand is a constant"
        if isinstance(op, Sub) and position == 0:
            return f"it subtracts from the constant '{op.inputs[0]}'; only the image minus a constant can be folded"
        source = op.inputs[1 - position]
        conv = graph.producer(source)
        if not isinstance(conv, Convolution):
            return f"'{source}' is no convolution"
        if conv.activation is not Activation.NONE:
            return f"the activation of '{source}' lies between"
        if graph.sole_consumer(source) is not op:
            return f"'{source}' is read elsewhere too"
        if graph.specs[source].channels != graph.specs[op.name].channels:
            return f"it spreads one channel over {graph.specs[op.name].channels}"
        return None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """Put the convolution that computes the result in the operator's place, named like the operator."""
        assert isinstance(op, Binary)
        position = constant_position(graph, op)
        assert position is not None
        constant, conv = graph.producer(op.inputs[position]), graph.producer(op.inputs[1 - position])
        assert isinstance(constant, Constant) and isinstance(conv, Convolution)
        values = constant.value.to(conv.weight).expand(conv.weight.shape[0])
        folded = scaled(conv, values) if isinstance(op, Mul) else shifted(conv, signed(op, values))
        return graph.rewritten({op.name: (replace(folded, name=op.name, activation=op.activation),)})


def scaled(conv: Convolution, values: torch.Tensor) -> Convolution:
    """The convolution that computes values * conv."""
    bias = None if conv.bias is None else conv.bias * values
    return replace(conv, weight=conv.weight * values[:, None, None, None], bias=bias)


def shifted(conv: Convolution, values: torch.Tensor) -> Convolution:
    """The convolution that computes conv + values."""
    return replace(conv, bias=values.clone() if conv.bias is None else conv.bias + values)
