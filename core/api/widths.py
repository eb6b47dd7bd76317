"""The widths of one export's activations: 8 bits, 16 wherever a target has them, or what a budget asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgesr.errors import ExportError
from edgesr.graph import Graph
from edgesr.npu_profile import NpuProfile
from edgesr.progress import Progress
from edgesr.quant.mixed_precision import Assignment, WidthChooser, judging_pairs
from edgesr.quant.photographs import LabelledImage
from edgesr.quantized import QuantizedGraph
from edgesr.target import Format, Precision, Target
from edgesr.threads import torch_threads


def refuse_widths(max_drop_db: float | None, npu: NpuProfile, target: Target) -> None:
    """Raise `ExportError` for a budget or an NPU that a target cannot answer."""
    if target.precision.is_integer and target.format not in npu.formats:
        taken = " and ".join(format_.value for format_ in npu.formats)
        raise ExportError(f"the NPU profile {npu.name} takes {taken} files alone; leave {target.name} out, or --npu")
    if max_drop_db is not None and target.precision is not Precision.INT8:
        raise ExportError(
            f"--max-drop chooses between 8 and 16 bits in int8 targets; {target.name} has one width throughout: leave "
            "it out, or --max-drop"
        )
    if max_drop_db is not None and not 0 < max_drop_db < float("inf"):
        raise ExportError(f"--max-drop {max_drop_db:g} is no positive number of decibels; give one like 0.03")


class WidthPlan:
    """What one export has found for one NPU in each file format; a budget of None is none."""

    def __init__(
        self, max_drop_db: float | None, npu: NpuProfile, reference: Graph, images: Sequence[np.ndarray],
        photographs: Callable[[], Sequence[np.ndarray]], progress: Progress,
    ) -> None:  # fmt: skip
        self._budget_db = max_drop_db
        self._npu = npu
        self._reference = reference
        self._images = images
        self._photographs = photographs
        self._progress = progress
        self._chooser: WidthChooser | None = None
        self._pairs: list[LabelledImage] | None = None
        self._assignments: dict[Format, Assignment] = {}
        self._refused: dict[Format, Mapping[str, str]] = {}

    def network(self, target: Target, narrow: QuantizedGraph) -> QuantizedGraph:
        """The 8-bit network in the widths that a target and the budget ask for; raises `QualityError` for no answer."""
        refusals = self._npu.wide_refusals(target.format)
        if target.precision is Precision.A16W8:
            network, possible = self._chooser_of(narrow).all_wide(refusals)
            self._refused[target.format] = possible.refused
            return network
        if self._budget_db is None:
            return narrow
        if target.format not in self._assignments:
            chooser, pairs = self._chooser_of(narrow), self._pairs_of(narrow)
            with torch_threads(1):
                found = chooser.cheapest(self._budget_db, self._npu, refusals, pairs)
            self._assignments[target.format] = found
        return self._assignments[target.format].network

    def _chooser_of(self, narrow: QuantizedGraph) -> WidthChooser:
        if self._chooser is None:
            with torch_threads(1):
                self._chooser = WidthChooser(narrow, self._images, self._progress, self._reference)
        return self._chooser

    def _pairs_of(self, narrow: QuantizedGraph) -> list[LabelledImage]:
        if self._pairs is None:
            self._pairs = judging_pairs(self._photographs(), narrow.graph)
        return self._pairs

    def facts(self, target: Target, network: QuantizedGraph) -> dict[str, object]:
        """What a manifest records of a target's widths; nothing where all is 8 bits and nobody asked."""
        if target.precision is Precision.A16W8:
            return {"bits": _bits(network), "kept_at_8_bits": dict(self._refused[target.format])}
        if self._budget_db is None:
            return {}
        found, npu = self._assignments[target.format], self._npu
        return {
            "bits": _bits(network),
            "kept_at_8_bits": dict(found.refused),
            "max_drop_db": self._budget_db,
            "judged_drop_db": found.drop.judged_db,
            "mean_drop_db": found.drop.mean_db,
            "judged_drop_db_of_8_bits": found.narrow_drop.judged_db,
            "judging_images": len(found.drop.by_image),
            "chosen": [list(group) for group in found.groups],
            "npu": npu.name,
            "cost_per_pixel": found.cost,
            "cost_per_pixel_of_8_bits": found.narrow_cost,
            "cost_assumption": npu.assumption,
            "sensitivity_db": dict(found.sensitivity_db),
        }


def _bits(network: QuantizedGraph) -> dict[str, int]:
    return {name: network.bits(name) for name in network.graph.specs}
