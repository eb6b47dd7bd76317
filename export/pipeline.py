"""Which folds run, in which order, for float and for INT8 targets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgesr.errors import ExportError
from edgesr.export.folds.compose_convs import ComposeConvs
from edgesr.export.folds.densify_grouped_conv import DensifyGroupedConv
from edgesr.export.folds.depthwise_before_concat import DepthwiseBeforeConcat
from edgesr.export.folds.fold import Fold
from edgesr.export.folds.fuse_activation import FuseActivation
from edgesr.export.folds.fuse_affine import FuseAffine
from edgesr.export.folds.fuse_input_range import FuseInputRange
from edgesr.export.folds.pixel_shuffle_to_depth_to_space import PixelShuffleToDepthToSpace
from edgesr.export.folds.split_concat import SplitConcat
from edgesr.graph import Graph

NATIVE_FOLDS: tuple[Fold, ...] = (
    FuseInputRange(),
    FuseAffine(),
    FuseActivation(),
    DensifyGroupedConv(),
    ComposeConvs(max_growth=1.0),
    SplitConcat(),
    PixelShuffleToDepthToSpace(),
)
"""What every target gets: exact, and never more multiplications except for making groups dense."""

PROFILE_FOLDS: tuple[Fold, ...] = (DepthwiseBeforeConcat(),)
"""What an NPU's profile may ask for by name: exact, but of use to some NPUs alone."""


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


def find_profile_folds(names: Iterable[str]) -> tuple[Fold, ...]:
    """The folds of these names, in the order in which they run; raises `ExportError` for a name that no fold has."""
    wanted = set(names)
    unknown = wanted - {fold.name for fold in PROFILE_FOLDS}
    if unknown:
        known = ", ".join(fold.name for fold in PROFILE_FOLDS)
        raise ExportError(f"no fold for an NPU is called '{min(unknown)}'; choose from {known}")
    return tuple(fold for fold in PROFILE_FOLDS if fold.name in wanted)
