"""The graph without its last DepthToSpace, which the host does: for NPUs that have no such operator.

A graph f that ends in DepthToSpace of block s and order DCR is f = D o g. This keeps g, which gives s*s*C channels at
the input's size, channel (i*s + j)*C + c of pixel (y, x) being channel c of the image's pixel (s*y + i, s*x + j). The
host moves the bytes: `edgesr.pixel_shuffle.shuffle_pixels` is D. Exact: f(x) = D(g(x)) by definition, and since the
tensors of a DepthToSpace share one grid, an INT8 network gives the same bytes.

Arm's compiler has no DEPTH_TO_SPACE, and written as RESHAPE and TRANSPOSE it costs many times the whole network.
"""

from __future__ import annotations

from dataclasses import replace

from edgesr.errors import ExportError
from edgesr.export.folds.fold import Fold
from edgesr.graph import Graph
from edgesr.ops import DepthToSpace, Op, ShuffleOrder
from edgesr.quantized import QuantizedGraph


class HostShuffle(Fold):
    """The DepthToSpace that a graph ends with."""

    name = "host-shuffle"

    def considers(self, op: Op) -> bool:
        """DepthToSpace."""
        return isinstance(op, DepthToSpace)

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """It is not the end, has PyTorch's order, its input has other readers or is not at the image's size."""
        assert isinstance(op, DepthToSpace)
        if op.name != graph.output:
            return f"the graph ends in '{graph.output}', not in this DepthToSpace"
        if op.order is not ShuffleOrder.DCR:
            return "it has PyTorch's channel order: run the fold pixel-shuffle-to-depth-to-space before"
        source = graph.specs[op.inputs[0]]
        if source.scale != 1:
            return f"its input '{source.name}' has {source.scale} times the image's size: the host shuffles from 1"
        return None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """End the graph at what the DepthToSpace reads."""
        return graph.without(op.name)


def without_shuffle(network: QuantizedGraph) -> QuantizedGraph:
    """The INT8 network without its last DepthToSpace; its output keeps the image's grid.

    Raises `ExportError` where the graph ends otherwise.
    """
    graph = network.graph
    result = HostShuffle().apply(graph)
    if not result.changed:
        why = result.refused.get(graph.output) or f"it ends in '{graph.output}', which is no DepthToSpace"
        raise ExportError(f"graph '{graph.name}' cannot leave its shuffle to the host: {why}; use the tail as it is")
    (shuffle,) = result.changed
    before, after = network.activations[result.graph.output], network.activations[shuffle]
    if before != after:
        raise ExportError(
            f"graph '{graph.name}': DepthToSpace '{shuffle}' changes the grid from {before} to {after}; it moves "
            "integers unchanged, so both tensors need one grid"
        )
    activations = {name: network.activations[name] for name in result.graph.specs}
    return replace(network, graph=result.graph, activations=activations)


def host_block(network: Graph | QuantizedGraph) -> int:
    """The block that the host has to shuffle by once the last DepthToSpace is gone; call it with the graph before."""
    graph = network.graph if isinstance(network, QuantizedGraph) else network
    last = graph.producer(graph.output)
    if not isinstance(last, DepthToSpace):
        raise ExportError(f"graph '{graph.name}' ends in '{graph.output}', which is no DepthToSpace")
    return last.block
    graph = network.graph if isinstance(network, QuantizedGraph) else network
    last = graph.producer(graph.output)
    if not isinstance(last, DepthToSpace):
        raise ExportError(f"graph '{graph.name}' ends in '{graph.output}', which is no DepthToSpace")
    return last.block


def ending_before_shuffle(network: Graph | QuantizedGraph) -> Graph | QuantizedGraph:
    """The network without its last DepthToSpace; raises `ExportError` where it ends otherwise."""
    if isinstance(network, QuantizedGraph):
        return without_shuffle(network)
    result = HostShuffle().apply(network)
    if not result.changed:
        raise ExportError(f"graph '{network.name}' cannot leave its shuffle to the host; use the tail as it is")
    return result.graph
