"""Which tensors get 16 bits, so that the picture loses no more than a budget at the least cost.

1. Each tensor alone is rounded to its 8 bits, all else in float: the error e_t that it puts into the output.
2. Everything that may is given 16 bits. Does that miss the budget, no assignment meets it: `QualityError`.
3. From 8 bits throughout, the group that removes the most error for each unit of added cost is given 16 bits, until the
   measured drop lies within the budget. The error of an assignment is the sum of e_t over all tensors that are still
   rounded to 8 bits somewhere; what lies between operators of 16 bits is not, chosen or not.
4. Each choice, the dearest first, is taken back where the budget holds without it.

Greedy, so no better single change is left, but no proof that nothing cheaper exists. The same images give the same
choice. `drop` says what is measured and why it is conservative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgesr.errors import QualityError
from edgesr.graph import Graph
from edgesr.npu_profile import NpuProfile
from edgesr.progress import Progress, silent
from edgesr.quant.calibration import Calibration, calibrate
from edgesr.quant.cost import cost_per_pixel
from edgesr.quant.drop import Drop, DropMeter
from edgesr.quant.images import middles, spread
from edgesr.quant.photographs import LabelledImage, hold_out, labelled
from edgesr.quant.sensitivity import sensitivities_db
from edgesr.quant.widths import Group, Widenable, copy_name, widen, widenable
from edgesr.quantized import NARROW_BITS, QuantizedGraph
from edgesr.sixteen_bits import Refusals

SENSITIVITY_IMAGES, SENSITIVITY_SIDE = 8, 64
JUDGING_IMAGES = 24
ENOUGH_HELD_OUT = 12
"""Below that, all images judge: a quarter of fewer is a handful of numbers."""
STAGE = "choosing widths"


@dataclass(frozen=True, eq=False)
class Assignment:
    """A network of 8 and 16 bits and what is known of it; `sensitivity_db` is the PSNR to float, by tensor."""

    network: QuantizedGraph
    groups: tuple[Group, ...]
    drop: Drop
    narrow_drop: Drop
    cost: float
    narrow_cost: float
    sensitivity_db: Mapping[str, float]
    refused: Mapping[str, str]


def judging_pairs(photographs: Sequence[np.ndarray], graph: Graph) -> list[LabelledImage]:
    """What drops are measured on: images held out from learning, at most 24; all images where few are held out."""
    scale = max(1, int(graph.scale))
    _, held = hold_out(photographs)
    pairs = labelled(held, scale, graph.size_multiple)
    if len(pairs) >= ENOUGH_HELD_OUT:
        return spread(pairs, JUDGING_IMAGES)
    return labelled(photographs, scale, graph.size_multiple)


class WidthChooser:
    """One 8-bit network, the images that calibrate it, and the extremes of its tensors on them.

    Drops are counted from the pictures of `reference`: a network that has learned is another one than it was made from.
    None means the network's own float graph.
    """

    def __init__(
        self, network: QuantizedGraph, images: Sequence[np.ndarray], progress: Progress = silent,
        reference: Graph | None = None,
    ) -> None:  # fmt: skip
        self.network = network
        self.reference = reference or network.graph
        self.progress = progress
        self.calibration: Calibration = calibrate(network.graph, images, progress)
        self.images = images

    def all_wide(self, refusals: Refusals) -> tuple[QuantizedGraph, Widenable]:
        """The network with 16 bits wherever they can be."""
        possible = widenable(self.network.graph, refusals)
        return widen(self.network, possible.groups, self.calibration, refusals), possible

    def cheapest(
        self, max_drop_db: float, npu: NpuProfile, refusals: Refusals, pairs: Sequence[LabelledImage]
    ) -> Assignment:
        """The cheapest assignment found that loses at most `max_drop_db` on `pairs`; `QualityError` where none does."""
        return _Search(self, max_drop_db, npu, refusals, pairs).result()

    def sensitivities_db(self) -> dict[str, float]:
        """PSNR to the float output with one tensor alone rounded to its 8 bits, by tensor."""
        graph = self.network.graph
        chosen = middles(self.images, SENSITIVITY_IMAGES, SENSITIVITY_SIDE, graph.size_multiple)
        candidates = {name: self.network.activations[name] for name in graph.specs}
        return sensitivities_db(graph, chosen, candidates, self.progress)


class _Search:
    """One budget on one NPU in one format."""

    def __init__(
        self, chooser: WidthChooser, max_drop_db: float, npu: NpuProfile, refusals: Refusals,
        pairs: Sequence[LabelledImage],
    ) -> None:  # fmt: skip
        self.chooser = chooser
        self.budget = max_drop_db
        self.npu = npu
        self.refusals = refusals
        self.meter = DropMeter(chooser.reference, pairs)
        self.possible = widenable(chooser.network.graph, refusals)

    def result(self) -> Assignment:
        """The assignment."""
        narrow = self.meter.measure(self.chooser.network)
        sensitivity = self.chooser.sensitivities_db()
        chosen: list[Group] = []
        if narrow.judged_db > self.budget:
            self._refuse_hopeless(narrow)
            chosen = self._taken_back(self._added(sensitivity))
        network = self._widened(chosen)
        return Assignment(
            network, tuple(chosen), self.meter.measure(network), narrow, self._cost(network),
            self._cost(self.chooser.network), sensitivity, self.possible.refused,
        )  # fmt: skip

    def _refuse_hopeless(self, narrow: Drop) -> None:
        """Raise `QualityError` where even 16 bits throughout miss the budget."""
        best = self.meter.measure(self._widened(self.possible.groups))
        if best.judged_db <= self.budget:
            return
        raise QualityError(
            f"--max-drop {self.budget:g} dB cannot be met: 8 bits lose {narrow.judged_db:.3f} dB, the best reached is "
            f"{best.judged_db:.3f} dB with 16 bits in all {len(self.possible.groups)} groups of tensors that can have "
            f"them; what is left comes from 8-bit weights{self._from_refused()}. It would take --max-drop "
            f"{_rounded_up(best.judged_db):g}, another --effort, more photographs with --calib, or an fp16 target"
        )

    def _from_refused(self) -> str:
        kept = sorted({why for why in self.possible.refused.values() if why != "the image has 8 bits"})
        return f" and tensors that keep 8 bits ({'; '.join(kept)})" if kept else ""

    def _added(self, sensitivity_db: Mapping[str, float]) -> list[Group]:
        """Groups in the order of error removed for added cost, until the budget holds."""
        chosen: list[Group] = []
        left = list(self.possible.groups)
        while left and self._judged(chosen) > self.budget:
            self.chooser.progress(STAGE, len(chosen), len(self.possible.groups))
            before = self._widened(chosen)
            rates = {group: self._rate(before, self._widened([*chosen, group]), sensitivity_db) for group in left}
            best = max(left, key=lambda group: rates[group])
            chosen.append(best)
            left.remove(best)
        return chosen

    def _rate(self, before: QuantizedGraph, after: QuantizedGraph, sensitivity_db: Mapping[str, float]) -> float:
        """Error removed for each unit of cost added."""
        removed = _rounding_error(before, sensitivity_db) - _rounding_error(after, sensitivity_db)
        return removed / max(self._cost(after) - self._cost(before), 1e-9)

    def _taken_back(self, chosen: list[Group]) -> list[Group]:
        """Without the groups that the budget holds without, those that cost most tried first."""
        whole = self._cost(self._widened(chosen))
        savings = {group: whole - self._cost(self._widened(_without(chosen, group))) for group in chosen}
        for done, group in enumerate(sorted(chosen, key=lambda group: savings[group], reverse=True)):
            self.chooser.progress("taking widths back", done, len(chosen))
            fewer = _without(chosen, group)
            if self._judged(fewer) <= self.budget:
                chosen = fewer
        self.chooser.progress("taking widths back", len(chosen), len(chosen))
        return chosen

    def _judged(self, groups: Sequence[Group]) -> float:
        return self.meter.measure(self._widened(groups)).judged_db

    def _widened(self, groups: Sequence[Group]) -> QuantizedGraph:
        return widen(self.chooser.network, groups, self.chooser.calibration, self.refusals)

    def _cost(self, network: QuantizedGraph) -> float:
        return cost_per_pixel(network, self.npu)


def _rounding_error(network: QuantizedGraph, sensitivity_db: Mapping[str, float]) -> float:
    """The summed error power of all tensors that have 8 bits, or a copy of 8 bits."""
    narrow = [
        name for name in sensitivity_db
        if name in network.activations
        and (network.bits(name) == NARROW_BITS or copy_name(name, NARROW_BITS) in network.activations)
    ]  # fmt: skip
    return sum(10 ** (-sensitivity_db[name] / 10) for name in narrow)


def _without(groups: Sequence[Group], group: Group) -> list[Group]:
    return [other for other in groups if other != group]


def _rounded_up(drop_db: float) -> float:
    """To a hundredth of a decibel above: a budget that holds."""
    return int(drop_db * 100 + 1) / 100
