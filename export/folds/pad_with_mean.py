"""A constant added to a tensor before a convolution with zero padding, folded in by a channel of ones.

FuseInputRange cannot fold x + t where the convolution W pads with zeros: what is padded is the sum, so that beyond the
border x would have to be -t. A channel that is one inside the image and padded to zero like the others tells where the
image ends, and carries the constant exactly to the outermost pixel:

    W * (x + t)  =  W' * [x, 1],        W'[o] = [W[o], sum_c W[o, c] t_c]

A 1x1 convolution makes [x, 1]: the identity, and a row of zeros with bias 1. Networks meet this as x - mean. In INT8
the difference is a tensor off the image's grid, rounded a second time; [x, 1] lies on that grid, and the identity on it
is exact. In float nothing is gained, so integer targets alone use it.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from edgesr.export.folds.constant_operand import constant_operand, refused_operand
from edgesr.export.folds.fold import Fold
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Binary, Conv2d, Op, Sub


class PadWithMean(Fold):
    """The image plus or minus one constant for each channel, into the padded convolutions that read it."""

    name = "pad-with-mean"

    def considers(self, op: Op) -> bool:
        """Sums and differences; whether of the image and a constant is for `refuses`."""
        return isinstance(op, (Add, Sub))

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """Not the image and a constant, or a reader that is no dense convolution."""
        assert isinstance(op, Binary)
        if (why := refused_operand(graph, op)) is not None:
            return why
        if constant_operand(graph, op)[0] != graph.input.name:
            return "it is no arithmetic on the image itself"
        if op.activation is not Activation.NONE:
            return f"its activation {op.activation.value} lies between"
        if op.name == graph.output:
            return "its result is the graph's output"
        for reader in graph.consumers[op.name]:
            if not (isinstance(reader, Conv2d) and reader.groups == 1):
                return f"its result is read by '{reader.name}', which is no dense convolution"
        return None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """Put the convolution that appends the ones in the operator's place, and the constant into its readers."""
        assert isinstance(op, Binary)
        source, values = constant_operand(graph, op)
        channels = graph.input.channels
        ones = Conv2d(
            name=f"{op.name}.with_ones", inputs=(source,),
            weight=torch.eye(channels + 1, channels, dtype=torch.float64)[:, :, None, None],
            bias=torch.eye(channels + 1, dtype=torch.float64)[channels],
        )  # fmt: skip
        changes: dict[str, tuple[Op, ...]] = {op.name: (ones,)}
        for reader in graph.consumers[op.name]:
            assert isinstance(reader, Conv2d)
            carried = torch.einsum("oikl,i->okl", reader.weight, values.to(reader.weight))[:, None]
            wider = replace(reader, weight=torch.cat([reader.weight, carried], dim=1))
            changes[reader.name] = (wider.with_inputs({op.name: ones.name}),)
        return graph.rewritten(changes)
