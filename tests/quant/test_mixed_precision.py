"""The search for widths: within the budget, cheapest by its own measure, the same every time, honest when it fails."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from edgesr.errors import QualityError
from edgesr.graph import Graph
from edgesr.npu_profile import NPU_PROFILES, NpuProfile
from edgesr.ops import Concat, Mul
from edgesr.quant.calibration import calibrate
from edgesr.quant.cost import cost_per_pixel
from edgesr.quant.drop import DropMeter
from edgesr.quant.mixed_precision import JUDGING_IMAGES, Assignment, WidthChooser, judging_pairs
from edgesr.quant.photographs import LabelledImage
from edgesr.quant.ranges import RangeMethod, RangeRule, choose_ranges
from edgesr.quant.weights import quantize_weights
from edgesr.quant.widths import widen
from edgesr.quantized import QuantizedGraph

GENERIC = NPU_PROFILES[0]
NONE: Mapping[Any, str] = {}


@pytest.fixture(scope="module")
def chooser(small_spanv2: Graph, photographs: Any) -> WidthChooser:
    """The small network with ranges four times too wide: 6-bit activations, in effect, so that there is a drop."""
    calibration = calibrate(small_spanv2, photographs)
    wide = {
        name: stats if name == "input" else stats.scaled(4 + 0 * stats.lowest) for name, stats in calibration.items()
    }
    activations = choose_ranges(small_spanv2, wide, RangeRule(RangeMethod.MIN_MAX))
    network = QuantizedGraph(small_spanv2, activations, quantize_weights(small_spanv2, activations))
    return WidthChooser(network, photographs)


@pytest.fixture(scope="module")
def pairs(small_spanv2: Graph, photographs: Any) -> list[LabelledImage]:
    return judging_pairs(photographs, small_spanv2)


@pytest.fixture(scope="module")
def ends(chooser: WidthChooser, pairs: Any) -> tuple[Assignment, float]:
    """What 8 bits throughout lose (from a budget that they meet), and what 16 bits throughout lose."""
    loose = chooser.cheapest(100.0, GENERIC, NONE, pairs)
    with pytest.raises(QualityError) as failure:
        chooser.cheapest(1e-9, GENERIC, NONE, pairs)
    found = re.search(r"best reached is (-?[\d.]+) dB", str(failure.value))
    assert found is not None
    return loose, float(found[1])


@pytest.fixture(scope="module")
def middle(chooser: WidthChooser, ends: Any, pairs: Any) -> tuple[float, Assignment]:
    budget = (ends[0].drop.judged_db + 2 * ends[1]) / 3
    return budget, chooser.cheapest(budget, GENERIC, NONE, pairs)


def test_8_bits_are_kept_where_they_meet_the_budget(chooser: WidthChooser, ends: Any, pairs: Any) -> None:
    loose, _ = ends
    assert loose.network is chooser.network and loose.groups == () and loose.cost == loose.narrow_cost
    assert set(loose.sensitivity_db) == set(chooser.network.graph.specs)


def test_a_budget_is_met_by_some_tensors(middle: Any, ends: Any) -> None:
    budget, found = middle
    assert found.drop.judged_db <= budget < ends[0].drop.judged_db
    assert len(found.groups) > 0 and found.narrow_cost < found.cost
    assert found.drop.judged_db >= found.drop.mean_db


def test_no_choice_can_be_taken_back(chooser: WidthChooser, middle: Any, pairs: Any) -> None:
    budget, found = middle
    meter = DropMeter(chooser.network.graph, pairs)
    for group in found.groups:
        fewer = [other for other in found.groups if other != group]
        network = widen(chooser.network, fewer, chooser.calibration, NONE)
        assert meter.measure(network).judged_db > budget


def test_the_same_images_give_the_same_choice(chooser: WidthChooser, middle: Any, pairs: Any) -> None:
    budget, found = middle
    again = WidthChooser(chooser.network, chooser.images).cheapest(budget, GENERIC, NONE, pairs)
    assert (again.groups, again.drop, again.cost) == (found.groups, found.drop, found.cost)


def test_a_budget_that_cannot_be_met_says_what_would_take(chooser: WidthChooser, ends: Any, pairs: Any) -> None:
    with pytest.raises(QualityError) as failure:
        chooser.cheapest(1e-6, GENERIC, NONE, pairs)
    message = str(failure.value)
    assert "\n" not in message and failure.value.exit_code == 3
    for part in ("--max-drop 1e-06 dB cannot be met", "8 bits lose", "best reached is", "--effort", "fp16 target"):
        assert part in message
    relaxed = float(re.search(r"would take --max-drop ([\d.]+)", message)[1])  # type: ignore[index]  # it is there
    assert chooser.cheapest(relaxed, GENERIC, NONE, pairs).drop.judged_db <= relaxed


def test_refused_operators_are_never_chosen_and_named_in_the_error(
    chooser: WidthChooser, middle: Any, pairs: Any
) -> None:
    refusals = {Mul: "this NPU has no 16-bit product", Concat: "nor a 16-bit join"}
    with pytest.raises(QualityError, match=r"tensors that keep 8 bits .*this NPU has no 16-bit product"):
        chooser.cheapest(1e-6, GENERIC, refusals, pairs)
    network, possible = chooser.all_wide(refusals)
    assert not any(network.bits(op.name) == 16 for op in network.graph if isinstance(op, (Mul, Concat)))
    assert all("this NPU" in possible.refused[op.name] for op in chooser.network.graph if isinstance(op, Mul))


def test_cost_counts_wide_macs_and_bytes(chooser: WidthChooser) -> None:
    network = chooser.network
    macs = float(network.graph.macs_per_input_pixel())
    assert cost_per_pixel(network, NpuProfile("macs", "", 2.0, 0.0, "")) == macs
    wide, _ = chooser.all_wide(NONE)
    assert cost_per_pixel(wide, NpuProfile("macs", "", 2.0, 0.0, "")) == 2 * macs
    moved = [cost_per_pixel(n, NpuProfile("bytes", "", 1.0, 1.0, "")) - macs for n in (network, wide)]
    read = sum(network.graph.specs[x].channels for op in network.graph for x in op.inputs)
    written = sum(float(s.channels * s.scale**2) for s in list(network.graph.specs.values())[1:] if s.scale)
    assert moved[0] == read + written and 1.8 < moved[1] / moved[0] < 2.2


def test_judging_images_are_held_out_where_there_are_enough(small_spanv2: Graph, photographs: Any) -> None:
    assert len(judging_pairs(photographs, small_spanv2)) == len(photographs) == 12
    many = [photographs[i % 12] + i for i in range(100)]
    held = judging_pairs(many, small_spanv2)
    assert len(held) == 20 < JUDGING_IMAGES
    assert (held[0].hr == many[4]).all()
