"""What a fold is: a rewrite of the graph at one operator, with its algebra, its conditions and its exactness.

A fold states why it refuses (`refuses`), rewrites one operator (`rewrite`), and is driven to its fixpoint by `apply`,
which makes it idempotent: after `apply` no operator is left that the fold would rewrite.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from edgesr.graph import Graph
from edgesr.ops import Op


class Exactness(enum.Enum):
    """How the folded graph relates to the graph before, in exact arithmetic."""

    EXACT = "exact, border included"
    INSIDE = "exact inside, the border differs"
    ON_IMAGE_GRID = "exact once the output is quantized to the image's 8-bit grid"


MAX_REWRITES_PER_OPERATOR = 100
"""Far beyond what any fold needs: who gets there rewrites what it wrote itself, and would never end."""


@dataclass(frozen=True)
class FoldResult:
    """The graph after a fold, the operators it rewrote, and for each one it refused the reason."""

    graph: Graph
    changed: tuple[str, ...]
    refused: Mapping[str, str]


class Fold(ABC):
    """A named rewrite; subclasses are one file each."""

    name: str
    exactness: Exactness = Exactness.EXACT

    @abstractmethod
    def considers(self, op: Op) -> bool:
        """Whether this operator is of the kind that the fold is about."""

    @abstractmethod
    def refuses(self, graph: Graph, op: Op) -> str | None:
        """Why the fold must leave a considered operator alone; None when it applies."""

    @abstractmethod
    def rewrite(self, graph: Graph, op: Op) -> Graph:
        """The graph with the fold applied at one operator that it does not refuse."""

    def apply(self, graph: Graph) -> FoldResult:
        """Rewrite wherever the fold applies, until nowhere is left.

        Raises `RuntimeError` for a fold that does not end: a defect of the fold, whatever the graph.
        """
        changed: list[str] = []
        limit = MAX_REWRITES_PER_OPERATOR * len(graph.ops)
        while (op := self._next(graph)) is not None:
            if len(changed) == limit:
                raise RuntimeError(f"fold '{self.name}' does not end on graph '{graph.name}', last at '{op.name}'")
            graph = self.rewrite(graph, op)
            changed.append(op.name)
        refused = {op.name: self.refuses(graph, op) or "" for op in graph if self.considers(op)}
        return FoldResult(graph, tuple(changed), refused)

    def _next(self, graph: Graph) -> Op | None:
        return next((op for op in graph if self.considers(op) and self.refuses(graph, op) is None), None)
