"""Giving tensors 16 bits: what may have them, where widths meet, exact copies, rescaled biases, refusals."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.errors import ExportError
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Concat, Constant, Conv2d, DepthToSpace, HardSwish, Mul, Requantize, ShuffleOrder
from edgesr.quant.calibration import Calibration, calibrate, to_tensor
from edgesr.quant.ranges import RangeRule, choose_ranges
from edgesr.quant.weights import BIAS_LIMIT, quantize_weights
from edgesr.quant.widths import HEADROOM, widen, widenable
from edgesr.quantized import IMAGE_GRID, QuantizedGraph, QuantParams
from edgesr.sixteen_bits import FORMAT_REFUSALS
from edgesr.target import Format

NONE: Mapping[Any, str] = {}
TFLITE = FORMAT_REFUSALS[Format.TFLITE]


@pytest.fixture(scope="module")
def gated(build: Any) -> Graph:
    """near and a gated branch joined, a head, and a shuffle: SPANV2 in small."""
    torch.manual_seed(1)
    return build.graph(
        build.conv("near", "input", 3, 6),
        build.conv("a", "input", 3, 4, activation=Activation.RELU),
        build.conv("b", "a", 4, 4),
        build.conv("gate", "b", 4, 4, kernel=1),
        Add(name="sum", inputs=("a", "b")),
        Mul(name="product", inputs=("sum", "gate")),
        Concat(name="cat", inputs=("near", "product")),
        build.conv("head", "cat", 10, 12),
        DepthToSpace(name="out", inputs=("head",), block=2, order=ShuffleOrder.DCR),
    )


def quantized(graph: Graph, photographs: Any) -> tuple[QuantizedGraph, Calibration]:
    calibration = calibrate(graph, photographs)
    activations = choose_ranges(graph, calibration, RangeRule())
    return QuantizedGraph(graph, activations, quantize_weights(graph, activations)), calibration


@pytest.fixture(scope="module")
def network(gated: Graph, photographs: Any) -> tuple[QuantizedGraph, Calibration]:
    return quantized(gated, photographs)


def test_groups_are_what_shares_a_grid_without_the_image(gated: Graph) -> None:
    found = widenable(gated, NONE)
    assert {frozenset(group) for group in found.groups} == {
        frozenset(group) for group in (("a",), ("b",), ("gate",), ("sum",), ("product", "cat", "near"))
    }
    assert found.refused == dict.fromkeys(("input", "head", "out"), "the image has 8 bits")


def test_nothing_chosen_changes_nothing(network: Any) -> None:
    narrow, calibration = network
    assert widen(narrow, (), calibration, NONE) is narrow


def test_widths_meet_in_a_requantize_alone(network: Any) -> None:
    """`sum` in 16 bits: the sum computes in 16 from copies of 8, its reader too, and goes back to 8 for the concat."""
    narrow, calibration = network
    wide = widen(narrow, [("sum",)], calibration, NONE)
    inserted = {op.name: op.inputs for op in wide.graph if isinstance(op, Requantize)}
    assert inserted == {
        "a.16bit": ("a",), "b.16bit": ("b",), "gate.16bit": ("gate",), "product.8bit": ("product",),
    }  # fmt: skip
    assert set(wide.wide_tensors) == {"a.16bit", "b.16bit", "gate.16bit", "sum", "product"}
    assert wide.activations["product.8bit"] == narrow.activations["product"] == wide.activations["cat"]
    for name in narrow.graph.specs:
        assert wide.activations[name] == narrow.activations[name] or name in ("sum", "product")


def test_8_bit_values_are_exact_in_16_bits(network: Any) -> None:
    narrow, calibration = network
    wide = widen(narrow, [("sum",)], calibration, NONE)
    every = torch.arange(-128, 128)
    for name in ("a", "b", "gate"):
        reals = narrow.activations[name].dequantize(every)
        copy = wide.activations[f"{name}.16bit"]
        assert torch.equal(copy.dequantize(copy.quantize(reals)), reals)
        assert copy.zero_point == 0 and copy.scale == narrow.activations[name].scale / 128


def test_all_in_16_bits_comes_near_float_weights(network: Any, photographs: Any) -> None:
    """What is left is the rounding of the weights: the same as without any rounding of activations."""
    narrow, calibration = network
    wide = widen(narrow, widenable(narrow.graph, NONE).groups, calibration, NONE)
    assert wide.bits(wide.graph.output) == wide.bits("input") == 8 and wide.activations[wide.graph.output] == IMAGE_GRID
    x = to_tensor(photographs[0]).double()
    rounded_once = narrow.output.dequantize(narrow.output.quantize(narrow.dequantized.execute(x)))
    errors = [(n.execute(x) - rounded_once).square().mean().item() for n in (narrow, wide)]
    assert errors[1] < 0.02 * errors[0]
    assert np.isclose(narrow.dequantized.execute(x), wide.dequantized.execute(x), atol=1e-4).all(), "rescaled biases"


def test_a_group_is_chosen_whole_or_refused(network: Any) -> None:
    narrow, calibration = network
    with pytest.raises(ExportError, match="'near' cannot have 16 bits: it is no whole group"):
        widen(narrow, [("near",)], calibration, NONE)
    with pytest.raises(ExportError, match="'input' cannot have 16 bits: the image has 8 bits"):
        widen(narrow, [("input",)], calibration, NONE)


def test_16_bit_ranges_reach_beyond_what_was_seen(network: Any) -> None:
    narrow, calibration = network
    wide = widen(narrow, [("cat", "near", "product")], calibration, NONE)
    seen = max(calibration[x].highest.max().item() for x in ("cat", "near", "product"))
    seen = max(seen, -min(calibration[x].lowest.min().item() for x in ("cat", "near", "product")))
    for name in ("cat", "near", "product"):
        assert wide.activations[name].scale * 32767 == pytest.approx(HEADROOM * seen)


def test_an_operator_without_a_16_bit_form_stays_narrow(build: Any, photographs: Any) -> None:
    graph = build.graph(
        build.conv("a", "input", 3, 4), HardSwish(name="swish", inputs=("a",)), build.conv("b", "a", 4, 4),
        Add(name="sum", inputs=("swish", "b")), build.conv("out", "sum", 4, 3),
    )  # fmt: skip
    narrow, calibration = quantized(graph, photographs)
    found = widenable(graph, TFLITE)
    assert ("a",) in found.groups and "HARD_SWISH" in found.refused["swish"]
    wide = widen(narrow, [("a",)], calibration, TFLITE)
    swish = wide.graph.producer("swish")
    assert swish is not None and swish.inputs == ("a.8bit",) and wide.bits("swish") == 8
    assert wide.bits("b") == 16, "the other reader computes in 16"
    with pytest.raises(ExportError, match="'swish' cannot have 16 bits: made by 'swish': LiteRT has no int16 kernel"):
        widen(narrow, [("swish",)], calibration, TFLITE)
    assert ("swish",) in widenable(graph, NONE).groups


def test_what_only_such_an_operator_reads_is_no_choice(build: Any) -> None:
    graph = build.graph(build.conv("a", "input", 3, 4), HardSwish(name="s", inputs=("a",)), build.conv("o", "s", 4, 3))
    assert widenable(graph, TFLITE).refused["a"].startswith("read by 's': LiteRT has no int16 kernel")


def test_constants_are_stored_once_more_in_16_bits(build: Any, photographs: Any) -> None:
    graph = build.graph(
        build.conv("a", "input", 3, 4), build.constant("k", [0.5, -1.0, 2.0, 3.0]), Mul(name="m", inputs=("a", "k")),
        build.conv("b", "m", 4, 4), Add(name="n", inputs=("b", "k")), build.conv("out", "n", 4, 3),
    )  # fmt: skip
    narrow, calibration = quantized(graph, photographs)
    wide = widen(narrow, [("a",)], calibration, NONE)
    copy = wide.graph.producer("k.16bit")
    assert isinstance(copy, Constant) and wide.bits("k") == 8 and wide.bits("k.16bit") == 16
    assert widenable(graph, NONE).refused["k"] == "a constant follows its readers"


def test_a_bias_beyond_int32_makes_the_input_scale_larger(build: Any, photographs: Any) -> None:
    """8-bit biases may use 2^30; in 16 bits, with input steps 128 times finer, most would leave int32."""
    graph = build.graph(build.conv("a", "input", 3, 4), build.conv("b", "a", 4, 4), build.conv("out", "b", 4, 3))
    narrow, calibration = quantized(graph, photographs)
    large = replace(narrow.weights["b"], bias=torch.tensor([2**29, -(2**29), 5, 0], dtype=torch.int32))
    narrow = replace(narrow, weights={**narrow.weights, "b": large})
    for group in ("a", "b"):
        wide = widen(narrow, [(group,)], calibration, NONE)
        b = wide.graph.producer("b")
        assert isinstance(b, Conv2d)
        ratio = narrow.activations["a"].scale / wide.activations[b.inputs[0]].scale
        assert ratio <= 2.0001 and wide.weights["b"].bias.abs().max() <= BIAS_LIMIT + 64
        assert torch.allclose(wide.weights["b"].bias.double(), large.bias.double() * ratio, atol=0.51)


def test_mixed_widths_are_refused_by_name(network: Any) -> None:
    """The seeded error of a missing Requantize, and of an image or a grid that no format holds."""
    narrow, _ = network
    for name, why in (("sum", "Add 'sum' mixes widths"), ("head", "Conv2d 'head' mixes widths")):
        activations = {**narrow.activations, name: QuantParams.symmetric(1.0)}
        with pytest.raises(ExportError, match=f"{why}.* without a Requantize"):
            replace(narrow, activations=activations)
    with pytest.raises(ExportError, match="its image 'input' has 16 bits, not 8"):
        replace(narrow, activations={**narrow.activations, "input": QuantParams.symmetric(1.0)})
    with pytest.raises(ExportError, match="'sum' has 16 bits and zero point 3"):
        replace(narrow, activations={**narrow.activations, "sum": QuantParams(1.0, 3, 16)})
