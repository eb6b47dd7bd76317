"""A network as its captured graph: what stands for a user's own class wherever that class must not run.

The module executes the graph in the dtype of the image, so it computes what the class computed, to the rounding that
capture allows (1e-9 of the largest output, in float64), and needs none of the class's code.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from edgesr.architecture import SRModel
from edgesr.graph import Graph

CAPTURED = "captured"
"""The architecture of a network that is in no registry: its graph is all there is."""


class CapturedNetwork(nn.Module):
    """A graph as a module; its parameters are buffers, in float64 until the module is converted."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.keys = tuple(graph.parameters())
        for index, value in enumerate(graph.parameters().values()):
            self.register_buffer(f"parameter_{index}", value.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, scale*H, scale*W)."""
        current = {key: self.get_buffer(f"parameter_{index}") for index, key in enumerate(self.keys)}
        return self.graph.with_parameters(current).execute(x)


def in_graph_form(model: SRModel, graph: Graph) -> SRModel:
    """The model with its captured graph in the place of its module."""
    return replace(model, architecture=CAPTURED, module=CapturedNetwork(graph).eval())
