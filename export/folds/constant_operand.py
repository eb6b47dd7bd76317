"""Products, sums and differences of a tensor and a constant: what the folds that absorb such arithmetic share."""

from __future__ import annotations

from torch import Tensor

from edgesr.graph import Graph
from edgesr.ops import Binary, Constant, Sub


def refused_operand(graph: Graph, op: Binary) -> str | None:
    """Why `op` is no arithmetic of a tensor with one constant for each of its channels; None where it is."""
    position = _position(graph, op)
    if position is None:
        return "neither operand is a constant"
    if isinstance(op, Sub) and position == 0:
        return f"it subtracts from the constant '{op.inputs[0]}'; only the image minus a constant can be folded"
    channels = graph.specs[op.name].channels
    if graph.specs[op.inputs[1 - position]].channels != channels:
        return f"it spreads one channel over {channels}"
    return None


def constant_operand(graph: Graph, op: Binary) -> tuple[str, Tensor]:
    """The tensor's name, and what each of its channels is multiplied by or what is added to it, (C,).

    Only for an operator that `refused_operand` does not refuse.
    """
    position = _position(graph, op)
    assert position is not None
    constant = graph.producer(op.inputs[position])
    assert isinstance(constant, Constant)
    values = constant.value.expand(graph.specs[op.name].channels)
    return op.inputs[1 - position], -values if isinstance(op, Sub) else values


def _position(graph: Graph, op: Binary) -> int | None:
    return next((i for i, name in enumerate(op.inputs) if isinstance(graph.producer(name), Constant)), None)
