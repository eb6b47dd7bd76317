"""Equalization leaves the function alone in float64, scales what it may, and makes channels more alike."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.graph import Graph
from edgesr.ops import (
    Activation,
    Add,
    Clip,
    Concat,
    Convolution,
    DepthToSpace,
    HardSwish,
    Mul,
    Op,
    Relu,
    Relu6,
    ResizeNearest,
    Sigmoid,
    Slice,
    Sub,
    Tanh,
)
from edgesr.quant.calibration import calibrate
from edgesr.quant.equalization import MAX_LOG_SCALE, LogScales, apply_scales, choose_scales, equalize

Images = tuple[np.ndarray, ...]
Assert = Callable[[Graph, Graph], None]
RELU, RELU6 = Activation.RELU, Activation.RELU6


def gated(b: Any) -> list[Op]:
    """A block of SPANV2 behind a first convolution."""
    return [
        b.conv("x", "input", 3, 6, activation=RELU),
        b.conv("f2", "x", 6, 6, activation=RELU),
        b.conv("f3", "f2", 6, 6),
        Add(name="s", inputs=("x", "f3")),
        b.conv("g", "f3", 6, 6, kernel=1),
        Mul(name="m", inputs=("s", "g")),
        b.conv("out", "m", 6, 3),
    ]


def two(b: Any, channels: tuple[int, int] = (4, 4), **fields: Any) -> list[Op]:
    """Two convolutions of the image, `a` and `b`."""
    return [b.conv("a", "input", 3, channels[0], **fields), b.conv("b", "input", 3, channels[1], **fields)]


def pair(first: Convolution, second: Convolution, *between: Op) -> list[Op]:
    return [first, *between, second]


FREE: dict[str, tuple[Callable[[Any], list[Op]], str]] = {
    "convolutions": (lambda b: pair(b.conv("a", "input", 3, 5), b.conv("out", "a", 5, 3)), "a"),
    "fused relu": (lambda b: pair(b.conv("a", "input", 3, 5, activation=RELU), b.conv("out", "a", 5, 3)), "a"),
    "relu": (
        lambda b: pair(b.conv("a", "input", 3, 5), b.conv("out", "r", 5, 3), Relu(name="r", inputs=("a",))), "a r"
    ),
    "no biases": (lambda b: pair(b.conv("a", "input", 3, 5, bias=False), b.conv("out", "a", 5, 3, bias=False)), "a"),
    "strided": (lambda b: pair(b.conv("a", "input", 3, 5, stride=(2, 2)), b.conv("out", "a", 5, 3)), "a"),
    "depthwise": (
        lambda b: pair(b.conv("a", "input", 3, 5, activation=RELU), b.conv("out", "d", 5, 3), b.depthwise("d", "a", 5)),
        "a d",
    ),
    "depthwise of several filters": (
        lambda b: pair(b.conv("a", "input", 3, 4), b.conv("out", "d", 12, 3), b.depthwise("d", "a", 4, multiplier=3)),
        "a d",
    ),
    "groups": (
        lambda b: pair(b.conv("a", "input", 3, 4), b.conv("out", "d", 6, 3), b.conv("d", "a", 4, 6, groups=2)), "a d"
    ),
    "groups of one": (
        lambda b: pair(b.conv("a", "input", 3, 4), b.conv("out", "d", 8, 3), b.conv("d", "a", 4, 8, groups=4)), "a d"
    ),
    "sum": (lambda b: [*two(b), Add(name="s", inputs=("a", "b")), b.conv("out", "s", 4, 3)], "a b s"),
    "sum with relu": (
        lambda b: [*two(b), Add(name="s", inputs=("a", "b"), activation=RELU), b.conv("out", "s", 4, 3)], "a b s"
    ),
    "difference": (lambda b: [*two(b), Sub(name="s", inputs=("a", "b")), b.conv("out", "s", 4, 3)], "a b s"),
    "a sum with itself": (
        lambda b: pair(b.conv("a", "input", 3, 4), b.conv("out", "s", 4, 3), Add(name="s", inputs=("a", "a"))), "a s"
    ),
    "product of convolutions": (
        lambda b: [*two(b), Mul(name="m", inputs=("a", "b")), b.conv("out", "m", 4, 3)], "a b m"
    ),
    "product with relus": (
        lambda b: [
            *two(b, activation=RELU), Mul(name="m", inputs=("a", "b"), activation=RELU), b.conv("out", "m", 4, 3)
        ], "a b m",
    ),
    "gate": (gated, "x f2 f3 s g m"),
    "gate on the left": (
        lambda b: [
            b.conv("a", "input", 3, 4), b.conv("g", "a", 4, 4, kernel=1), Mul(name="m", inputs=("g", "a")),
            b.conv("out", "m", 4, 3),
        ], "a g m",
    ),
    "concat": (lambda b: [*two(b, (4, 5)), Concat(name="c", inputs=("a", "b")), b.conv("out", "c", 9, 3)], "a b c"),
    "concat twice": (
        lambda b: [
            *two(b, (4, 5)), Concat(name="c", inputs=("b", "a")), Concat(name="d", inputs=("c", "a", "c")),
            b.conv("out", "d", 22, 3),
        ], "a b c d",
    ),
    "a product that reads a concat": (
        lambda b: [
            *two(b, (4, 5)), b.conv("g", "input", 3, 9), Concat(name="c", inputs=("a", "b")),
            Mul(name="m", inputs=("c", "g")), b.conv("out", "m", 9, 3),
        ], "a b c g m",
    ),
    "a concat of a product": (
        lambda b: [*gated(b)[:-1], Concat(name="c", inputs=("m", "x")), b.conv("out", "c", 12, 3)], "x f2 f3 s g m c"
    ),
}  # fmt: skip

FIXED: dict[str, Callable[[Any], list[Op]]] = {
    "fused relu6": lambda b: pair(b.conv("a", "input", 3, 5, activation=RELU6), b.conv("out", "a", 5, 3)),
    "sum with relu6": lambda b: [
        *two(b), Add(name="s", inputs=("a", "b"), activation=RELU6), b.conv("out", "s", 4, 3)
    ],
    "product with relu6": lambda b: [
        *two(b), Mul(name="s", inputs=("a", "b"), activation=RELU6), b.conv("out", "s", 4, 3)
    ],
    "a gate with relu6": lambda b: [
        b.conv("a", "input", 3, 4), b.conv("g", "a", 4, 4, activation=RELU6), Mul(name="m", inputs=("a", "g")),
        b.conv("out", "m", 4, 3),
    ],
    **{
        kind.__name__: lambda b, op=op: pair(b.conv("a", "input", 3, 8), b.conv("out", "f", 8, 3), op)
        for kind, op in {
            type(op): op
            for op in (
                Relu6(name="f", inputs=("a",)),
                Sigmoid(name="f", inputs=("a",)),
                Tanh(name="f", inputs=("a",)),
                HardSwish(name="f", inputs=("a",)),
                Clip(name="f", inputs=("a",), low=-0.5, high=0.5),
                ResizeNearest(name="f", inputs=("a",), factor=2),
            )
        }.items()
    },
    "depth to space": lambda b: pair(
        b.conv("a", "input", 3, 8), b.conv("out", "f", 2, 3), DepthToSpace(name="f", inputs=("a",), block=2)
    ),
    "slice": lambda b: pair(
        b.conv("a", "input", 3, 8), b.conv("out", "f", 3, 3), Slice(name="f", inputs=("a",), start=2, stop=5)
    ),
    "square": lambda b: pair(b.conv("a", "input", 3, 4), b.conv("out", "m", 4, 3), Mul(name="m", inputs=("a", "a"))),
    "a product without a free gate": lambda b: [
        b.conv("a", "input", 3, 4), Relu(name="r", inputs=("a",)), Mul(name="m", inputs=("a", "r")),
        b.conv("out", "m", 4, 3),
    ],
    "a gate that is read twice": lambda b: [
        *two(b), Relu(name="r", inputs=("a",)), Mul(name="m", inputs=("r", "b")), Add(name="s", inputs=("m", "b")),
        Mul(name="n", inputs=("s", "a")), b.conv("out", "n", 4, 3),
    ],
    "a constant added": lambda b: pair(
        b.conv("a", "input", 3, 3), b.conv("out", "s", 3, 3), b.constant("k", [1, -2, 3]),
        Add(name="s", inputs=("a", "k")),
    ),
    "one channel added": lambda b: [
        *two(b, (4, 1)), Add(name="s", inputs=("a", "b")), b.conv("out", "s", 4, 3)
    ],
    "one channel multiplied": lambda b: [
        *two(b, (4, 1)), Mul(name="s", inputs=("a", "b")), b.conv("out", "s", 4, 3)
    ],
    "one channel gated": lambda b: [
        *two(b, (1, 4)), Mul(name="s", inputs=("a", "b")), b.conv("out", "s", 4, 3)
    ],
    "relu of a concat": lambda b: [
        *two(b, (4, 5)), Concat(name="c", inputs=("a", "b")), Relu(name="r", inputs=("c",)), b.conv("out", "r", 9, 3)
    ],
    "a concat added": lambda b: [
        *two(b, (4, 5)), b.conv("e", "input", 3, 9), Concat(name="c", inputs=("a", "b")),
        Add(name="s", inputs=("c", "e")), b.conv("out", "s", 9, 3),
    ],
    "a concat with the image": lambda b: [
        b.conv("a", "input", 3, 4), Concat(name="c", inputs=("a", "input")), b.conv("out", "c", 7, 3)
    ],
    "the image added": lambda b: [
        b.conv("a", "input", 3, 3), Add(name="s", inputs=("input", "a")), b.conv("out", "s", 3, 3)
    ],
    "the output": lambda b: [*two(b), Add(name="out", inputs=("a", "b"))],
}  # fmt: skip


@pytest.fixture
def uneven(build: Any) -> Callable[[list[Op]], Graph]:
    """A graph whose convolutions make channels of very different ranges."""

    def make(ops: list[Op]) -> Graph:
        return build.graph(*(with_rows_times(op, 3.0) if isinstance(op, Convolution) else op for op in ops))

    return make


def with_rows_times(op: Convolution, spread: float) -> Convolution:
    """Row k of the convolution times spread^(k mod 5 - 2)."""
    factors = torch.tensor([spread ** (k % 5 - 2) for k in range(op.weight.shape[0])], dtype=torch.float64)
    bias = None if op.bias is None else op.bias * factors
    return replace(op, weight=op.weight * factors[:, None, None, None], bias=bias)


def follow_the_rules(graph: Graph, scales: LogScales) -> bool:
    """Whether the scales satisfy the algebra of the module's docstring, operator by operator."""
    if scales[graph.input.name].any() or scales[graph.output].any():
        return False
    for op in graph:
        inputs = [scales[x] for x in op.inputs]
        if isinstance(op, Mul):
            expected = [inputs[0] + inputs[1]]
        elif isinstance(op, (Add, Sub, Relu)):
            expected = inputs
        elif isinstance(op, Concat):
            expected = [torch.cat(inputs)]
        elif isinstance(op, Convolution):
            expected = []
        else:
            expected = [torch.zeros_like(scales[op.name])]
            if any(x.any() for x in inputs):
                return False
        if not all(torch.allclose(scales[op.name], x, rtol=0, atol=1e-12) for x in expected):
            return False
    return True


@pytest.mark.parametrize("alpha", [0.5, 1.0])
@pytest.mark.parametrize("case", FREE)
def test_free_tensors_are_scaled_and_the_function_stays(
    case: str, alpha: float, build: Any, uneven: Callable[..., Graph], noise: Images, assert_same: Assert
) -> None:
    make, free = FREE[case]
    graph = uneven(make(build))
    calibration = calibrate(graph, noise)
    scales = choose_scales(graph, calibration, alpha)
    assert {name for name, scale in scales.items() if scale.abs().max() > 0.1} == set(free.split())
    assert follow_the_rules(graph, scales)
    assert_same(graph, apply_scales(graph, scales))


@pytest.mark.parametrize("case", FIXED)
def test_what_does_not_commute_with_scales_is_left_alone(
    case: str, build: Any, uneven: Callable[..., Graph], noise: Images
) -> None:
    graph = uneven(FIXED[case](build))
    calibration = calibrate(graph, noise)
    assert not any(scale.any() for scale in choose_scales(graph, calibration, 1.0).values())
    equalized, scaled = equalize(graph, calibration, 1.0)
    assert all(torch.equal(value, equalized.parameters()[key]) for key, value in graph.parameters().items())
    assert all(torch.equal(scaled[name].samples, calibration[name].samples) for name in calibration)


def test_a_fixed_tensor_fixes_its_ties_and_nothing_further(
    build: Any, uneven: Callable[..., Graph], noise: Images, assert_same: Assert
) -> None:
    sigmoid = Sigmoid(name="y", inputs=("s",))
    ops = [
        *two(build), Add(name="s", inputs=("a", "b")), sigmoid, build.conv("c", "y", 4, 5), build.conv("out", "c", 5, 3)
    ]  # fmt: skip
    graph = uneven(ops)
    calibration = calibrate(graph, noise)
    scales = choose_scales(graph, calibration, 1.0)
    assert {name for name, scale in scales.items() if scale.any()} == {"c"}
    assert_same(graph, apply_scales(graph, scales))


def test_spanv2_is_scaled_throughout_and_the_same(
    small_spanv2: Graph, photographs: Images, assert_same: Assert
) -> None:
    equalized, _ = equalize(small_spanv2, calibrate(small_spanv2, photographs[:3]))
    assert_same(small_spanv2, equalized)
    convolutions = [op for op in small_spanv2 if isinstance(op, Convolution)]
    changed = [op.name for op in convolutions if not torch.equal(op.weight, equalized.parameters()[op.name, "weight"])]
    assert changed == [op.name for op in convolutions]


def test_one_wrong_scale_is_caught(
    build: Any, uneven: Callable[..., Graph], noise: Images, assert_same: Assert
) -> None:
    graph = uneven(gated(build))
    scales = dict(choose_scales(graph, calibrate(graph, noise), 0.5))
    scales["g"] = scales["g"].clone()
    scales["g"][2] += 1e-6
    assert not follow_the_rules(graph, scales)
    with pytest.raises(AssertionError):
        assert_same(graph, apply_scales(graph, scales))


def test_exponent_zero_changes_nothing(build: Any, uneven: Callable[..., Graph], noise: Images) -> None:
    graph = uneven(gated(build))
    equalized, _ = equalize(graph, calibrate(graph, noise), 0.0)
    assert all(torch.equal(value, equalized.parameters()[key]) for key, value in graph.parameters().items())


def test_exponent_one_makes_lone_channels_equal(build: Any, uneven: Callable[..., Graph], noise: Images) -> None:
    graph = uneven(FREE["convolutions"][0](build))
    _, scaled = equalize(graph, calibrate(graph, noise), 1.0)
    reach = scaled["a"].samples.abs().amax(1)  # so few samples that the quantile is the largest
    assert reach.max() / reach.min() < 1 + 1e-5


def test_tied_tensors_share_the_mean_of_their_log_ranges(build: Any, noise: Images) -> None:
    graph = build.graph(*FREE["sum"][0](build))
    calibration = calibrate(graph, noise)

    def relative(name: str) -> torch.Tensor:
        logs = calibration[name].samples.abs().amax(1).double().log()
        return logs - logs.mean()

    scales = choose_scales(graph, calibration, 0.5)
    expected = torch.stack([relative(name) for name in "abs"]).mean(0) / 2
    for name in "abs":
        assert torch.allclose(scales[name], expected, rtol=0, atol=1e-12)


def test_scaled_statistics_are_those_of_the_equalized_graph(small_spanv2: Graph, photographs: Images) -> None:
    images = photographs[:2]
    equalized, scaled = equalize(small_spanv2, calibrate(small_spanv2, images))
    measured = calibrate(equalized, images)
    assert set(scaled) == set(measured)
    for name, statistics in measured.items():
        # float32 through a dozen layers of sums of up to 72 products
        allowed = 1e-4 * statistics.samples.abs().max()
        for part in ("samples", "lowest", "highest"):
            assert (getattr(scaled[name], part) - getattr(statistics, part)).abs().max() <= allowed


def test_dead_channels_count_as_average(build: Any, noise: Images, assert_same: Assert) -> None:
    graph = build.graph(*FREE["fused relu"][0](build))
    dead = dict(graph.parameters())
    dead["a", "weight"], dead["a", "bias"] = dead["a", "weight"].clone(), dead["a", "bias"].clone()
    dead["a", "weight"][1], dead["a", "bias"][1] = 0, 0
    dead["a", "weight"][3], dead["a", "bias"][3] = dead["a", "weight"][3] * 1e-9, 0  # as good as dead
    graph = graph.with_parameters(dead)
    scales = choose_scales(graph, calibrate(graph, noise), 1.0)
    assert scales["a"][1] == scales["a"][3] == 0
    assert scales["a"].count_nonzero() == 3
    assert_same(graph, apply_scales(graph, scales))


def test_a_tensor_that_is_dead_altogether_is_left_alone(build: Any, noise: Images) -> None:
    graph = build.graph(*FREE["fused relu"][0](build))
    zero = {key: torch.zeros_like(value) for key, value in graph.parameters().items() if key[0] == "a"}
    graph = graph.with_parameters(zero)
    assert not choose_scales(graph, calibrate(graph, noise), 1.0)["a"].any()


@pytest.mark.parametrize("factor", [1e5, 1e-5])
def test_outlier_channels_are_moved_a_bounded_way(
    factor: float, build: Any, noise: Images, assert_same: Assert
) -> None:
    graph = build.graph(*gated(build))
    for name in ("x", "g", "f2"):
        weight, bias = graph.parameters()[name, "weight"], graph.parameters()[name, "bias"]
        weight[2], bias[2] = weight[2] * factor, abs(bias[2]) * factor
    scales = choose_scales(graph, calibrate(graph, noise), 1.0)
    assert scales["f2"][2].abs() == MAX_LOG_SCALE, "an outlier must meet the bound, or this test proves nothing"
    for name, scale in scales.items():
        assert scale.abs().max() <= MAX_LOG_SCALE * (2 if name == "g" else 1)
    assert_same(graph, apply_scales(graph, scales))


def test_the_function_is_kept_beyond_the_calibrated_values(
    build: Any, uneven: Callable[..., Graph], noise: Images
) -> None:
    graph = uneven(gated(build))
    equalized, _ = equalize(graph, calibrate(graph, noise))
    x = 1e4 * torch.randn(1, 3, 6, 7, dtype=torch.float64)
    expected = graph.execute(x)
    assert (equalized.execute(x) - expected).abs().max() <= 1e-12 * expected.abs().max()
    assert math.isfinite(expected.abs().max().item())
