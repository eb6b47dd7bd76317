"""ReLU and ReLU6 become part of the operator before them.

    y = f(x);  z = max(y, 0)   ->   z = f_relu(x)

Exact: the same arithmetic on the same values. In INT8 it is more: the range of y below zero is never stored, so all
256 steps go to what is left. The fused operator keeps the name of the one before.
"""

from __future__ import annotations

from dataclasses import replace

from edgesr.export.folds.fold import Fold
from edgesr.graph import Graph
from edgesr.ops import Activation, Binary, Convolution, Op, Relu, Relu6

FUSED: dict[type[Op], Activation] = {Relu: Activation.RELU, Relu6: Activation.RELU6}


class FuseActivation(Fold):
    """Relu and Relu6 into the convolution or elementwise operator whose only reader they are."""

    name = "fuse-activation"

    def considers(self, op: Op) -> bool:
        """Standalone ReLU and ReLU6."""
        return type(op) in FUSED

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """The producer cannot hold an activation, holds one already, or its bare result is read elsewhere."""
        producer = graph.producer(op.inputs[0])
        if not isinstance(producer, (Convolution, Binary)):
            return f"'{op.inputs[0]}' is no convolution or elementwise operator"
        if producer.activation is not Activation.NONE:
            return f"'{producer.name}' already has the activation {producer.activation.value}"
        if graph.sole_consumer(producer.name) is not op:
            return f"'{producer.name}' is read before its activation too"
        return None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """Give the producer the activation and drop the standalone operator."""
        producer = graph.producer(op.inputs[0])
        assert isinstance(producer, (Convolution, Binary))
        fused = replace(producer, activation=FUSED[type(op)])
        return graph.rewritten({producer.name: (fused,)}).without(op.name)
