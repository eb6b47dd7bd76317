"""A 1x1 convolution of joined tensors as a sum of convolutions of its parts.

    P concat(a, r...) + q = P_a a + (P_r concat(r...) + q)

A part that is a bare convolution is swallowed, P_a (C x + b) = (P_a C) x + P_a b. Exact, border included (see
compose-convs): P acts at each position alone. By itself it is done for parts that are swallowed at no more
multiplications than P_a and C apart: then a and its place in the join are gone, which costs one sum. Joins that are
named are taken apart whole, which is for INT8: all that is joined shares one grid, and what is small in it drowns.
SPANF's and SPAN's tails are such joins.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from edgesr.export.folds.compose_convs import composed, is_pointwise
from edgesr.export.folds.fold import Fold
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Concat, Conv2d, Convolution, Op


class SplitConcat(Fold):
    """1x1 convolutions of a Concat: its bare convolutions that nothing else reads go, and of `apart` every part."""

    name = "split-concat"

    def __init__(self, apart: frozenset[str] = frozenset()) -> None:
        self.apart = apart

    def considers(self, op: Op) -> bool:
        """1x1 convolutions."""
        return isinstance(op, Convolution) and is_pointwise(op)

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """No join before, read elsewhere too, in groups, or nothing in it that could be swallowed or is to go apart."""
        assert isinstance(op, Convolution)
        (source,) = op.inputs
        join = graph.producer(source)
        if not isinstance(join, Concat):
            return f"its input '{source}' is no Concat"
        if graph.sole_consumer(source) is None:
            return f"'{source}' is read elsewhere too"
        if op.group_count != 1:
            return "it reads the join in groups"
        if len(join.inputs) < 2 or not self._alone(graph, op, join):
            return "no part of the join is a bare convolution of its own that costs no more when swallowed"
        return None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """A convolution for each part that goes, a composed one where it is swallowed, one for the rest, and sums."""
        join = graph.producer(op.inputs[0])
        assert isinstance(op, Convolution) and isinstance(join, Concat)
        alone = self._alone(graph, op, join)
        rest = tuple(name for name in join.inputs if name not in alone)
        parts: list[Convolution] = []
        for name, swallowed in alone.items():
            part = _part(graph, op, join, (name,))
            parts.append(part if swallowed is None else composed(swallowed, part))
        before: tuple[Op, ...] = ()
        if rest:
            reader = _part(graph, op, join, rest)
            if len(rest) > 1:
                before = (replace(join, name=f"{join.name}.rest", inputs=rest),)
                reader = replace(reader, inputs=(before[0].name,))
            parts = [reader, *parts]
        parts[0] = _with_bias(parts[0], op.bias)
        return graph.rewritten({op.name: (*before, *parts, *_summed(op, [part.name for part in parts]))})

    def _alone(self, graph: Graph, op: Convolution, join: Concat) -> dict[str, Convolution | None]:
        """The parts that get a convolution of their own, and what that is to swallow."""
        whole = join.name in self.apart and len(set(join.inputs)) == len(join.inputs)
        found = {name: _swallowed(graph, op, join, name) for name in join.inputs}
        return {name: first for name, first in found.items() if whole or first is not None}


def _swallowed(graph: Graph, op: Convolution, join: Concat, name: str) -> Convolution | None:
    """The convolution that makes a part, if it can be composed with its columns of the 1x1 one at no cost."""
    first = graph.producer(name)
    if not isinstance(first, Convolution) or first.activation is not Activation.NONE:
        return None
    if graph.sole_consumer(name) is not join or join.inputs.count(name) != 1:
        return None
    part = _part(graph, op, join, (name,))
    apart = first.macs_per_position() + part.macs_per_position()
    return first if composed(first, part).macs_per_position() <= apart else None


def _part(graph: Graph, op: Convolution, join: Concat, names: tuple[str, ...]) -> Conv2d:
    """The 1x1 convolution of some parts of the join alone, without its bias and activation."""
    columns: list[int] = []
    first = 0
    for name in join.inputs:
        channels = graph.specs[name].channels
        columns += range(first, first + channels) if name in names else []
        first += channels
    suffix = names[0] if len(names) == 1 else "rest"
    return Conv2d(name=f"{op.name}.of.{suffix}", inputs=(names[0],), weight=op.weight[:, columns], bias=None)


def _with_bias(op: Convolution, bias: Tensor | None) -> Convolution:
    biases = [b for b in (op.bias, bias) if b is not None]
    return replace(op, bias=sum(biases[1:], biases[0]) if biases else None)


def _summed(op: Convolution, names: list[str]) -> list[Op]:
    """Sums of all parts, the last under the convolution's name and with its activation."""
    sums: list[Op] = []
    total = names[0]
    for position, name in enumerate(names[1:], 1):
        is_last = position == len(names) - 1
        made = op.name if is_last else f"{op.name}.sum_{position}"
        sums.append(Add(name=made, inputs=(total, name), activation=op.activation if is_last else Activation.NONE))
        total = made
    return sums
