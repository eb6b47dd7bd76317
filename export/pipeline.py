"""Which folds run, in which order, for float and for INT8 targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesr.export.folds.compose_convs import ComposeConvs
from edgesr.export.folds.densify_grouped_conv import DensifyGroupedConv
from edgesr.export.folds.fold import Fold
from edgesr.export.folds.fuse_activation import FuseActivation
from edgesr.export.folds.fuse_input_range import FuseInputRange
from edgesr.export.folds.pixel_shuffle_to_depth_to_space import PixelShuffleToDepthToSpace
from edgesr.graph import Graph

NATIVE_FOLDS: tuple[Fold, ...] = (
    FuseInputRange(),
    FuseActivation(),
    DensifyGroupedConv(),
    ComposeConvs(max_growth=1.0),
    PixelShuffleToDepthToSpace(),
)
"""What every target gets: exact, and never more multiplications except for making groups dense."""


@dataclass(frozen=True)
class FoldRecord:
    """One fold as it ran: what it rewrote and how exact that is, for the manifest."""

    fold: str
    exactness: str
    changed: tuple[str, ...]


def run_folds(graph: Graph, folds: Sequence[Fold]) -> tuple[Graph, list[FoldRecord]]:
    """The graph after all folds in order, and a record of each one that changed something."""
    records: list[FoldRecord] = []
    for fold in folds:
        result = fold.apply(graph)
        graph = result.graph
        if result.changed:
            records.append(FoldRecord(fold.name, fold.exactness.value, result.changed))
    return graph, records
