"""A product carried as its positive and its negative part, so that eight bits resolve it twice as finely.

    p = s * g    ->    p+ = relu(s * g),    p- = relu(s * (-g)),    p = p+ - p-

Exact: at every position one of the two is p or -p and the other is zero. A signed tensor spends half of its 256
integers on either sign; each part spends all of them on one, so its step is half as wide, and where a part is zero it
is rounded to zero exactly: the rounding error falls by 6 dB. -g is made by the gate's convolution with its signs
turned. Convolutions read the parts side by side, the weights of p- with their signs turned. In SPANV2 it pays for the
last block's product, which the head reads.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from edgesr.export.folds.densify_grouped_conv import dense_weight
from edgesr.export.folds.fold import Fold
from edgesr.graph import Graph
from edgesr.ops import Activation, Concat, Conv2d, Convolution, Mul, Op


class SignSplit(Fold):
    """Products with a gate of their own, read by convolutions alone, directly or through one concat.

    `past` names the products to split, None all of them.
    """

    name = "sign-split"

    def __init__(self, past: frozenset[str] | None = None) -> None:
        self.past = past

    def considers(self, op: Op) -> bool:
        """Products."""
        return isinstance(op, Mul)

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """Not asked for, an activation of its own, no gate to turn, or a reader that is no convolution."""
        assert isinstance(op, Mul)
        if self.past is not None and op.name not in self.past:
            return f"'{op.name}' is not among the products to split"
        if op.activation is not Activation.NONE:
            return "it has an activation: one of its parts is empty"
        if op.name == graph.output:
            return "it is the output"
        if _gate(graph, op) is None:
            return "neither factor is a bare convolution's that only this product reads"
        for reader in graph.consumers[op.name]:
            last = (reader,) if not isinstance(reader, Concat) else graph.consumers[reader.name]
            if isinstance(reader, Concat) and (reader.inputs.count(op.name) != 1 or reader.name == graph.output):
                return f"'{reader.name}' joins it twice, or is the output"
            for conv in last:
                if not isinstance(conv, Convolution):
                    return f"'{conv.name}' reads it and is no convolution"
                if conv.group_count != 1:
                    return f"'{conv.name}' reads it in groups"
        return None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """Two products in place of one, a gate with its signs turned, and wider weights in every reader."""
        gate = _gate(graph, op)
        assert gate is not None and isinstance(op, Mul)
        minus, turned = f"{op.name}.negative", f"{gate.name}.turned"
        changes: dict[str, tuple[Op, ...]] = {
            gate.name: (gate, replace(gate, name=turned, weight=-gate.weight, bias=_negative(gate.bias))),
            op.name: (
                replace(op, activation=Activation.RELU),
                replace(op, name=minus, inputs=_renamed(op, gate.name, turned), activation=Activation.RELU),
            ),
        }
        for reader in graph.consumers[op.name]:
            if isinstance(reader, Concat):
                changes[reader.name] = (replace(reader, inputs=(*reader.inputs, minus)),)
                channels = [graph.specs[x].channels for x in reader.inputs]
                start = sum(channels[: reader.inputs.index(op.name)])
                for conv in graph.consumers[reader.name]:
                    changes[conv.name] = (_widened(conv, start, graph.specs[op.name].channels),)
            else:
                joined = Concat(name=f"{op.name}.parts.{reader.name}", inputs=(op.name, minus))
                wide = _widened(reader, 0, graph.specs[op.name].channels)
                changes[reader.name] = (joined, replace(wide, inputs=(joined.name,)))
        return graph.rewritten(changes)


def _gate(graph: Graph, op: Op) -> Convolution | None:
    """The factor that can be turned: made by a bare convolution, read by this product alone."""
    for name in reversed(op.inputs):
        producer = graph.producer(name)
        if not isinstance(producer, Convolution) or producer.activation is not Activation.NONE:
            continue
        if graph.sole_consumer(name) is op and len(set(op.inputs)) == 2:
            return producer
    return None


def _widened(op: Op, start: int, channels: int) -> Conv2d:
    """The convolution with the weights of `channels` inputs from `start` repeated at the end, their signs turned."""
    assert isinstance(op, Convolution)
    weight = dense_weight(op)
    wide = torch.cat([weight, -weight[:, start : start + channels]], 1)
    return Conv2d(
        name=op.name, inputs=op.inputs, weight=wide, bias=op.bias, stride=op.stride, padding=op.padding,
        dilation=op.dilation, activation=op.activation,
    )  # fmt: skip


def _renamed(op: Op, old: str, new: str) -> tuple[str, ...]:
    return tuple(new if x == old else x for x in op.inputs)


def _negative(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else -bias
