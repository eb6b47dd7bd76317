"""The clip of the output image to [0, 1] left to the saturation of 8-bit integers.

With q(y) = clamp(round(255 y), 0, 255), the quantization of an image:

    q(clip(y, 0, 1)) = q(y)

since rounding is monotone, 0 and 1 lie on the grid, and below 0 and above 1 both sides saturate at 0 and 255. Exact
once the output is quantized to that grid, so only for artifacts with integer output; a float output would overshoot.
Operators that only move values may stand between the clip and the output: clipping and moving commute.
"""

from __future__ import annotations

from edgesr.export.folds.fold import Exactness, Fold
from edgesr.graph import Graph
from edgesr.ops import Clip, DepthToSpace, Op, ResizeNearest, Slice

MOVERS = (DepthToSpace, ResizeNearest, Slice)


class ElideOutputClip(Fold):
    """The last Clip(0, 1) of a graph."""

    name = "elide-output-clip"
    exactness = Exactness.ON_IMAGE_GRID

    def considers(self, op: Op) -> bool:
        """Clips."""
        return isinstance(op, Clip)

    def refuses(self, graph: Graph, op: Op) -> str | None:
        """Other bounds than the image's, or something between here and the output computes with the clipped values."""
        assert isinstance(op, Clip)
        if (op.low, op.high) != (0, 1):
            return f"it clips to {op.low:g}..{op.high:g}, not to the image's 0..1"
        name = op.name
        while name != graph.output:
            reader = graph.sole_consumer(name)
            if reader is None:
                return f"'{name}' is read more than once"
            if not isinstance(reader, MOVERS):
                return f"'{reader.name}' computes with the clipped values"
            name = reader.name
        return None

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """Drop the clip."""
        return graph.without(op.name)
