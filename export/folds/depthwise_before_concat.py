"""A depthwise convolution of joined tensors as one of each tensor, joined afterwards.

A depthwise convolution treats every channel alone, so with d_a and d_b its rows for the channels of a and of b

    d(concat(a, b)) = concat(d_a(a), d_b(b))

Exact, in INT8 too: the same integers meet the same weights. No multiplication is added. It pays where memory is
scarce: a join of its own lives from its first part to its last, while here each part is used up where it is made, and
the parts need no common grid. On Ethos-U85 with 2 MiB of SRAM, SPANV2's join is the largest tensor there is.
"""

from __future__ import annotations

from dataclasses import replace

from edgesr.export.folds.fold import Fold
from edgesr.graph import Graph
from edgesr.ops import Concat, DepthwiseConv2d, Op


class DepthwiseBeforeConcat(Fold):
    """DepthwiseConv2d of a Concat."""

    name = "depthwise-before-concat"

    def considers(self, op: Op) -> bool:
        """Depthwise convolutions."""
        return isinstance(op, DepthwiseConv2d)

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """It does not read a Concat, or others read that too."""
        (source,) = op.inputs
        if not isinstance(graph.producer(source), Concat):
            return f"its input '{source}' is no Concat"
        if graph.sole_consumer(source) is None:
            return f"'{source}' is read more than once"
        return None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """One convolution for each part, then the join under the convolution's name."""
        assert isinstance(op, DepthwiseConv2d)
        join = graph.producer(op.inputs[0])
        assert isinstance(join, Concat)
        parts, first = [], 0
        for position, source in enumerate(join.inputs):
            channels = graph.specs[source].channels
            rows = slice(first * op.multiplier, (first + channels) * op.multiplier)
            bias = None if op.bias is None else op.bias[rows]
            name = f"{op.name}.part_{position}"
            parts.append(replace(op, name=name, inputs=(source,), weight=op.weight[rows], bias=bias, channels=channels))
            first += channels
        result = Concat(name=op.name, inputs=tuple(part.name for part in parts))
        return graph.rewritten({op.name: (*parts, result)})
