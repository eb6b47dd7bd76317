"""How far an output pixel reaches into the image, from the operators of the graph.

Along one axis every operator says which positions of its inputs a run of its own positions reads (`Op.reads`): a
convolution of stride t, dilation d, kernel k and padding p reads t*i - p .. t*j - p + d*(k - 1) for i..j, what moves
values by blocks of r reads floor(i/r) .. floor(j/r), a pool of window w reads w*i .. w*j + w - 1. Going back from one
output position to the image, branches that meet at a tensor give the smallest run that holds them all.

With strides the runs differ by the position's phase: a graph repeats itself every m = size_multiple input pixels, so
m * scale consecutive output positions show all of them. `Reach` is the worst, counted from the input pixel that the
output pixel lies in, c = floor(i / scale):

    above = max(c - first),  below = max(last - c)      and the same for left and right

Kernels count with their whole size, zeros included: the reach is a property of the architecture, not of its weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edgesr.graph import Graph
from edgesr.padding import padded_size
from edgesr.quantized import QuantizedGraph, float_graph

ROWS, COLUMNS = 0, 1


@dataclass(frozen=True)
class Reach:
    """How many input pixels an output pixel may depend on to each side of the one that it lies in."""

    above: int
    below: int
    left: int
    right: int

    def __post_init__(self) -> None:
        """Refuse to reach less than nowhere."""
        if min(self.above, self.below, self.left, self.right) < 0:
            raise ValueError(f"{self}: a reach is at least 0")

    def along(self, axis: int) -> tuple[int, int]:
        """The reach before and behind a pixel along rows (axis 0) or columns."""
        return (self.above, self.below) if axis == ROWS else (self.left, self.right)

    def describe(self) -> str:
        """In words, for a table."""
        sides = {self.above, self.below, self.left, self.right}
        if len(sides) == 1:
            return f"{self.above} px to every side"
        return f"{self.above} px above, {self.below} below, {self.left} left, {self.right} right"


@dataclass(frozen=True)
class NoReach:
    """Why a network's output cannot be made of tiles: what stands in the way, as a clause."""

    why: str


def find_reach(network: Graph | QuantizedGraph | None) -> Reach | NoReach:
    """The reach of a network; None stands for a file of the general route, which no graph describes."""
    if network is None:
        return NoReach("its file came by the general route, and no graph says how far its pixels reach")
    graph = float_graph(network)
    refusal = _refusal(graph)
    if refusal:
        return NoReach(refusal)
    reach = Reach(*_worst(graph, ROWS), *_worst(graph, COLUMNS))
    misfit = _misfit(graph, reach)
    return NoReach(misfit) if misfit else reach


def _refusal(graph: Graph) -> str | None:
    """Why no pixel's reach can be said; None where it can."""
    for op in graph:
        if op.inputs and any(op.reads(axis, 0, 0) is None for axis in (ROWS, COLUMNS)):
            return f"{type(op).__name__} '{op.name}' depends on every position of the image"
    return f"its output has {graph.scale} of the image's size" if graph.scale.denominator != 1 else None


def _misfit(graph: Graph, reach: Reach) -> str | None:
    """Why the output of a tile does not lie on the whole's grid: paddings that do not make up for the kernels."""
    size = (1 + reach.above + reach.below, 1 + reach.left + reach.right)
    height, width = padded_size(size, graph.size_multiple)
    image = torch.empty(1, graph.input.channels, height, width, device="meta")  # sizes alone, nothing is computed
    found, scale = graph.execute(image).shape[2:], int(graph.scale)
    if tuple(found) == (height * scale, width * scale):
        return None
    return f"it makes {found[0]}x{found[1]} of {height}x{width}, which is not {scale} times as much"


def _worst(graph: Graph, axis: int) -> tuple[int, int]:
    """The reach before and behind, over all phases."""
    scale = int(graph.scale)
    before = behind = 0
    for position in range(graph.size_multiple * scale):
        first, last = input_run(graph, axis, position)
        before, behind = max(before, position // scale - first), max(behind, last - position // scale)
    return before, behind


def input_run(graph: Graph, axis: int, position: int) -> tuple[int, int]:
    """The first and last input position along an axis that one output position depends on, border ignored.

    The graph must hold no operator that reads every position.
    """
    runs = {graph.output: (position, position)}
    for op in reversed(graph.ops):
        found = op.reads(axis, *runs[op.name]) if op.name in runs else None
        if found is None:  # a constant, or what the output does not read
            continue
        for name in op.inputs:
            known = runs.get(name, found)
            runs[name] = min(known[0], found[0]), max(known[1], found[1])
    return runs[graph.input.name]
