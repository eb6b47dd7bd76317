"""Channel scales: what may choose them, what must follow, and that no choice changes the function."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Concat, Convolution, LeakyRelu, Mul, Relu, Sigmoid, Sub
from edgesr.quant.calibration import calibrate
from edgesr.quant.channel_scales import ScaleStructure, apply_scales, weight_factors
from edgesr.quant.equalization import choose_scales, equalize

Images = tuple[np.ndarray, ...]
Assert = Callable[[Graph, Graph], None]


@pytest.fixture
def everything(build: Any) -> Graph:
    """Every rule at once: a gated block, a sum, a depthwise convolution, a concat read as a factor, fixed tensors."""
    b = build
    graph: Graph = b.graph(
        b.conv("x", "input", 3, 6, activation=Activation.RELU),
        b.depthwise("d", "x", 6),
        b.conv("f", "d", 6, 6, groups=2),
        Add(name="s", inputs=("x", "f")),
        b.conv("g", "f", 6, 6, kernel=1),
        Mul(name="m", inputs=("s", "g")),
        b.conv("z", "m", 6, 4),
        Sigmoid(name="y", inputs=("z",)),
        b.conv("e", "y", 4, 5, bias=False),
        Concat(name="c", inputs=("e", "m")),
        b.conv("h", "c", 11, 11),
        Mul(name="n", inputs=("c", "h")),
        Relu(name="r", inputs=("n",)),
        b.conv("out", "r", 11, 3),
    )
    return graph


@pytest.fixture
def attention(build: Any) -> Graph:
    """Products with what has no scale of its own: a SiLU with an argument apart, SPAN's gate, a constant."""
    b = build
    graph: Graph = b.graph(
        b.conv("x", "input", 3, 6),
        b.conv("v", "input", 3, 6),
        Sigmoid(name="s", inputs=("v",)),
        Mul(name="silu", inputs=("x", "s")),
        b.conv("f", "silu", 6, 6),
        LeakyRelu(name="l", inputs=("f",), slope=0.1),
        Add(name="sum", inputs=("l", "silu")),
        b.constant("half", [0.5]),
        b.conv("w", "silu", 6, 6),
        Sigmoid(name="t", inputs=("w",)),
        Sub(name="centred", inputs=("t", "half")),
        Mul(name="gated", inputs=("sum", "centred")),
        b.constant("k", [1, -2, 3, 1, 2, 3]),
        Mul(name="times", inputs=("k", "gated")),
        b.conv("out", "times", 6, 3),
    )
    return graph


def test_a_factor_without_a_scale_ties_the_product_to_the_other(attention: Graph, assert_same: Assert) -> None:
    structure = ScaleStructure.of(attention)
    assert set(structure.groups) == {("f", "gated", "l", "silu", "sum", "times", "x")}
    assert structure.fixed == {"input", "v", "s", "w", "t", "half", "centred", "k", "out"}
    assert_same(attention, apply_scales(attention, structure.expand(random_choice(structure, 2.0))))


def random_choice(structure: ScaleStructure, spread: float = 1.0) -> list[Tensor]:
    return [spread * torch.randn(structure.channels(group), dtype=torch.float64) for group in structure.groups]


def test_the_groups_are_the_sums_and_whatever_follows_nothing(everything: Graph) -> None:
    structure = ScaleStructure.of(everything)
    assert set(structure.groups) == {("f", "s", "x"), ("d",), ("m",), ("e",), ("n", "r")}
    assert structure.fixed == {"input", "z", "y", "out"}
    assert [structure.channels(group) for group in (("f", "s", "x"), ("e",), ("n", "r"))] == [6, 5, 11]


def test_expanded_scales_obey_every_rule(everything: Graph) -> None:
    structure = ScaleStructure.of(everything)
    chosen = random_choice(structure)
    scales = structure.expand(chosen)
    assert set(scales) == set(everything.specs)
    for group, values in zip(structure.groups, chosen, strict=True):
        assert all(torch.equal(scales[name], values) for name in group)
    for name in structure.fixed:
        assert not scales[name].any()
    assert torch.allclose(scales["m"], scales["s"] + scales["g"], rtol=0, atol=1e-14)
    assert torch.allclose(scales["n"], scales["c"] + scales["h"], rtol=0, atol=1e-14)
    assert torch.equal(scales["c"], torch.cat([scales["e"], scales["m"]]))


@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_random_scales_keep_the_function(spread: float, everything: Graph, assert_same: Assert) -> None:
    structure = ScaleStructure.of(everything)
    scaled = apply_scales(everything, structure.expand(random_choice(structure, spread)))
    assert_same(everything, scaled)
    convolutions = [op for op in everything if isinstance(op, Convolution)]
    unchanged = [op.name for op in convolutions if torch.equal(op.weight, scaled.parameters()[op.name, "weight"])]
    assert not unchanged


def test_each_tensor_is_divided_by_its_scale(everything: Graph) -> None:
    structure = ScaleStructure.of(everything)
    scales = structure.expand(random_choice(structure))
    x = torch.rand(1, 3, 5, 7, dtype=torch.float64)
    before, after = everything.trace(x), apply_scales(everything, scales).trace(x)
    for name, value in before.items():
        expected = value / scales[name].exp()[:, None, None]
        assert (after[name] - expected).abs().max() <= 1e-12 * expected.abs().max(), name


@pytest.mark.parametrize("wrong", ["g", "c", "z", "x"])
def test_a_scale_that_breaks_a_rule_would_be_caught(wrong: str, everything: Graph, assert_same: Assert) -> None:
    structure = ScaleStructure.of(everything)
    scales = structure.expand(random_choice(structure))
    scales[wrong] = scales[wrong] + 1e-6
    with pytest.raises(AssertionError):
        assert_same(everything, apply_scales(everything, scales))


def test_small_spanv2_keeps_its_function_under_random_scales(small_spanv2: Graph, assert_same: Assert) -> None:
    structure = ScaleStructure.of(small_spanv2)
    assert len(structure.groups) > 5
    assert_same(small_spanv2, apply_scales(small_spanv2, structure.expand(random_choice(structure))))


def test_expanding_is_linear_and_passes_gradients_to_every_group(everything: Graph) -> None:
    structure = ScaleStructure.of(everything)
    chosen = [values.requires_grad_() for values in random_choice(structure)]
    assert torch.autograd.gradcheck(lambda *c: tuple(structure.expand(c).values()), chosen)
    product, factor = (chosen[structure.groups.index(group)] for group in (("m",), ("f", "s", "x")))
    slopes = torch.autograd.grad(structure.expand(chosen)["g"].sum(), [product, factor])
    assert [set(slope.tolist()) for slope in slopes] == [{1.0}, {-1.0}]


def test_scales_have_the_dtype_of_the_choice(everything: Graph) -> None:
    structure = ScaleStructure.of(everything)
    scales = structure.expand([values.float() for values in random_choice(structure)])
    assert {values.dtype for values in scales.values()} == {torch.float32}


def test_a_graph_without_free_tensors_has_no_scales(build: Any) -> None:
    structure = ScaleStructure.of(build.graph(build.conv("out", "input", 3, 3)))
    assert structure.groups == ()
    assert not any(values.any() for values in structure.expand([]).values())


def test_one_choice_for_each_group_is_demanded(everything: Graph) -> None:
    structure = ScaleStructure.of(everything)
    with pytest.raises(ValueError, match="zip"):
        structure.expand(random_choice(structure)[1:])


def test_weight_factors_of_groups_are_those_of_each_group_s_inputs(build: Any) -> None:
    op = build.conv("f", "x", 4, 6, groups=2)
    factors = weight_factors(op, torch.ones(6), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert factors[:, :, 0, 0].tolist() == [[1, 2]] * 3 + [[3, 4]] * 3


# What a concat joins must share one step: equalization brings its inputs to one reach.


def concat_of(b: Any, factors: Sequence[float]) -> Graph:
    """A concat of convolutions `a0`, `a1`, ... of the image, each of 4 channels, larger by the factor."""
    parts = [b.conv(f"a{i}", "input", 3, 4) for i in range(len(factors))]
    for part, factor in zip(parts, factors, strict=True):
        part.weight.mul_(factor)
        part.bias.mul_(factor)
    joined = Concat(name="c", inputs=tuple(part.name for part in parts))
    graph: Graph = b.graph(*parts, joined, b.conv("out", "c", 4 * len(parts), 3))
    return graph


def reaches(graph: Graph, images: Images, alpha: float) -> dict[str, float]:
    """The largest magnitude of each tensor that the concat joins, after equalization."""
    equalized, scaled = equalize(graph, calibrate(graph, images), alpha)
    joined = equalized.producer("c")
    assert joined is not None
    return {name: scaled[name].samples.abs().max().item() for name in joined.inputs}


@pytest.mark.parametrize("alpha", [0.5, 1.0])
@pytest.mark.parametrize("factors", [(1.0, 20.0), (30.0, 1.0, 0.1)])
def test_what_a_concat_joins_is_brought_to_one_reach(
    factors: tuple[float, ...], alpha: float, build: Any, noise: Images, assert_same: Assert
) -> None:
    graph = concat_of(build, factors)
    statistics = calibrate(graph, noise)
    before = [statistics[f"a{i}"].samples.abs().max().item() for i in range(len(factors))]
    assert max(before) > 8 * min(before), "the reaches must differ, or this test proves nothing"
    after = reaches(graph, noise, alpha)
    # so few samples that the quantile is the largest; float32 statistics
    assert max(after.values()) <= (1 + 1e-5) * min(after.values())
    assert_same(graph, equalize(graph, statistics, alpha)[0])


def test_a_dead_input_is_left_alone_and_does_not_move_the_others(
    build: Any, noise: Images, assert_same: Assert
) -> None:
    graph = concat_of(build, (1.0, 0.0, 20.0))
    statistics = calibrate(graph, noise)
    scales = choose_scales(graph, statistics, 1.0)
    assert not scales["a1"].any()
    assert all(math.isfinite(values.abs().max()) for values in scales.values())
    after = reaches(graph, noise, 1.0)
    assert after["a0"] == pytest.approx(after["a2"], rel=1e-5) and after["a1"] == 0
    assert_same(graph, equalize(graph, statistics, 1.0)[0])


def test_a_concat_of_dead_inputs_alone_is_left_alone(build: Any, noise: Images) -> None:
    graph = concat_of(build, (0.0, 0.0))
    assert not any(values.any() for values in choose_scales(graph, calibrate(graph, noise), 1.0).values())


def test_an_input_far_out_is_moved_a_bounded_way(build: Any, noise: Images, assert_same: Assert) -> None:
    graph = concat_of(build, (1e8, 1.0))
    scales = choose_scales(graph, calibrate(graph, noise), 1.0)
    for name in ("a0", "a1"):
        assert scales[name].abs().max() <= 8, "e^4 for its channels and e^4 for all of it"
    assert_same(graph, apply_scales(graph, scales))


def test_a_concat_with_the_image_is_left_at_the_image_s_reach(build: Any, noise: Images) -> None:
    graph = build.graph(
        build.conv("a", "input", 3, 4), Concat(name="c", inputs=("a", "input")), build.conv("out", "c", 7, 3)
    )
    assert not any(values.any() for values in choose_scales(graph, calibrate(graph, noise), 1.0).values())
