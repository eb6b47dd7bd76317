"""Per-channel arithmetic with constants in front of convolutions, folded into their weights and biases.

    W * (s x + t) + b  =  (W s) * x + (b + sum_ikl W[o, i, k, l] t[i]),        (W s)[o, i] = W[o, i] s[i]

where i counts the channels of x that the filter's group reads. Scaling is exact, border included: it maps the zero
padding to zero. A shift is exact only where the convolution pads nothing: zero padding of the shifted image is not
the shift of zero padding, so the border would change. Networks meet this as x/255 and (x - mean)/std, and each is an
elementwise pass over the whole image, rounded once more in INT8.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from edgesr.export.folds.constant_operand import constant_operand, refused_operand
from edgesr.export.folds.fold import Fold
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Binary, Convolution, Mul, Op, Sub


class FuseInputRange(Fold):
    """A product, sum or difference with a constant into the convolutions that read it."""

    name = "fuse-input-range"

    def considers(self, op: Op) -> bool:
        """Elementwise products, sums and differences; whether with a constant is for `refuses`."""
        return isinstance(op, (Mul, Add, Sub))

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """No constant, a constant minus the image, an activation between, another reader, or a shift of padding."""
        assert isinstance(op, Binary)
        if (why := refused_operand(graph, op)) is not None:
            return why
        if op.activation is not Activation.NONE:
            return f"its activation {op.activation.value} lies between"
        return refused_reader(graph, op)

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """Change every convolution that reads the result, and drop the operator."""
        assert isinstance(op, Binary)
        source, values = constant_operand(graph, op)
        changes: dict[str, tuple[Op, ...]] = {}
        for reader in graph.consumers[op.name]:
            assert isinstance(reader, Convolution)
            folded = scaled(reader, values) if isinstance(op, Mul) else shifted(reader, values)
            changes[reader.name] = (folded.with_inputs({op.name: source}),)
        return graph.rewritten(changes)


def refused_reader(graph: Graph, op: Op) -> str | None:
    """Why what reads the result cannot hold the arithmetic."""
    readers = graph.consumers[op.name]
    if op.name == graph.output or not readers:
        return "its result is the graph's output"
    for reader in readers:
        if not isinstance(reader, Convolution):
            return f"its result is read by '{reader.name}', which is no convolution"
        if not isinstance(op, Mul) and reader.padding != (0, 0):
            return f"the zero padding of '{reader.name}' would be shifted too"
    return None


def scaled(conv: Convolution, values: torch.Tensor) -> Convolution:
    """The convolution that computes from x what `conv` computes from values * x."""
    return replace(conv, weight=conv.weight * per_row(conv, values)[:, :, None, None])


def shifted(conv: Convolution, values: torch.Tensor) -> Convolution:
    """The convolution that computes from x what `conv` computes from x + values, where it pads nothing."""
    carried = torch.einsum("oikl,oi->o", conv.weight, per_row(conv, values))
    return replace(conv, bias=carried if conv.bias is None else conv.bias + carried)


def per_row(conv: Convolution, values: torch.Tensor) -> torch.Tensor:
    """For each filter the values (O, I) of the channels that it reads: those of its group."""
    groups = values.reshape(conv.group_count, -1)
    return groups.repeat_interleave(conv.weight.shape[0] // conv.group_count, 0).to(conv.weight)
