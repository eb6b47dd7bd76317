"""Ranges against numpy, the grids that are prescribed, and the tensors that must share one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.artifact import IOContract
from edgesr.errors import CalibrationError, ExportError
from edgesr.export.tflite import emit_tflite
from edgesr.graph import Graph
from edgesr.ops import (
    Activation,
    Add,
    Concat,
    Convolution,
    DepthToSpace,
    Mul,
    Op,
    Relu,
    ResizeNearest,
    Sigmoid,
    Slice,
    Sub,
    Tanh,
)
from edgesr.quant.calibration import TensorStatistics, calibrate
from edgesr.quant.ranges import RangeMethod, RangeRule, choose_ranges, needed_bounds, quantile_bounds, tied_groups
from edgesr.quant.weights import quantize_weights
from edgesr.quantized import IMAGE_GRID, QuantizedGraph, QuantParams
from edgesr.runtime.litert_runner import Kernels, LiteRTRunner
from edgesr.target import IODtype, Layout, Precision

Images = tuple[np.ndarray, ...]
MIN_MAX = RangeRule(RangeMethod.MIN_MAX)


def statistics(samples: torch.Tensor) -> TensorStatistics:
    return TensorStatistics(samples, samples.amin(1), samples.amax(1))


@pytest.mark.parametrize("tail", [1e-4, 1e-3, 0.01, 0.2])
def test_percentiles_are_those_of_numpy(tail: float) -> None:
    samples = torch.randn(4, 25_000) * torch.tensor([1.0, 5, 0.1, 2])[:, None]
    values = samples.numpy().ravel().astype(np.float64)
    low = np.quantile(values, tail, method="inverted_cdf")
    high = -np.quantile(-values, tail, method="inverted_cdf")
    assert quantile_bounds(samples, tail) == (low, high)
    assert RangeRule(tail=tail).bounds(statistics(samples)) == (low, high)


def test_few_values_have_their_extremes_as_percentiles() -> None:
    samples = torch.tensor([[3.0, -1.0], [0.5, 7.0]])
    assert quantile_bounds(samples, 1e-4) == quantile_bounds(samples, 0.0) == (-1.0, 7.0)


def test_min_max_is_over_every_position_and_not_the_sample() -> None:
    seen = TensorStatistics(torch.ones(2, 10), torch.tensor([-3.0, 0.0]), torch.tensor([1.0, 9.0]))
    assert MIN_MAX.bounds(seen) == (-3.0, 9.0)
    assert RangeRule().bounds(seen) == (1.0, 1.0)


def test_percentiles_leave_outliers_out() -> None:
    samples = torch.rand(1, 100_000)
    samples[0, :8] = torch.tensor([50.0, -40, 30, 60, 70, -80, 90, 99])
    low, high = RangeRule(tail=1e-4).bounds(statistics(samples))
    assert 0 <= low < 1e-3 and 0.999 < high <= 1
    assert MIN_MAX.bounds(statistics(samples)) == (-80, 99)


def test_values_rarer_than_the_tail_still_have_a_range() -> None:
    """All percentiles of an almost silent tensor are zero; a range of zero would silence it altogether."""
    samples = torch.zeros(3, 40_000)
    samples[1, 5] = 0.25
    rare = TensorStatistics(samples, torch.zeros(3), torch.tensor([0.0, 0.5, 0.0]))
    assert quantile_bounds(samples, 1e-4) == (0, 0)
    assert RangeRule().bounds(rare) == (0, 0.5)


@pytest.mark.parametrize("tail", [-1e-9, 0.5, 2.0, float("nan")])
def test_tails_that_leave_nothing_are_refused(tail: float) -> None:
    with pytest.raises(ValueError, match="is no share below one half"):
        RangeRule(tail=tail)


@pytest.mark.parametrize("rule", [RangeRule(), MIN_MAX])
def test_ranges_of_a_network(small_spanv2: Graph, photographs: Images, rule: RangeRule) -> None:
    calibration = calibrate(small_spanv2, photographs[:3])
    chosen = choose_ranges(small_spanv2, calibration, rule)
    assert set(chosen) == set(small_spanv2.specs)
    head = {"input", "pixel_shuffle", "pointwise_conv"}
    tied = {"cat", "conv_near", "block_2.mul"}
    assert all((chosen[name] is IMAGE_GRID) == (name in head) for name in chosen)
    for name, params in chosen.items():
        assert params.dequantize(params.quantize(torch.zeros(1))).item() == 0.0
        assert np.float32(params.scale) == params.scale
        op = small_spanv2.producer(name)
        if isinstance(op, Convolution) and op.activation is Activation.RELU:
            assert params.zero_point == -128
        if name not in head | tied:
            low, high = rule.bounds(calibration[name])
            assert params == QuantParams.from_range(low, high)
    bounds = [rule.bounds(calibration[name]) for name in tied]
    for name in tied:
        assert chosen[name] == QuantParams.from_range(min(b[0] for b in bounds), max(b[1] for b in bounds))


def ranged(build: Any, low: float, high: float) -> QuantParams:
    """What is chosen for a tensor whose values span low..high."""
    graph = build.graph(build.conv("a", "input", 3, 4), build.conv("out", "a", 4, 3))
    values = torch.linspace(low, high, 100).expand(4, -1)
    calibration = {name: statistics(torch.rand(3, 9)) for name in ("input", "out")} | {"a": statistics(values)}
    return choose_ranges(graph, calibration, RangeRule())["a"]


@pytest.mark.parametrize(
    ("low", "high", "zero_point", "span"), [(1.0, 3.0, -128, 3.0), (-3.0, -1.0, 127, 3.0), (-1.0, 1.0, 0, 2.0)]
)
def test_ranges_are_widened_to_zero(low: float, high: float, zero_point: int, span: float, build: Any) -> None:
    params = ranged(build, low, high)
    assert abs(params.zero_point - zero_point) <= (low * high < 0)  # -1..1 has no middle: 256 steps
    assert params.scale == pytest.approx(span / 255, rel=1e-6)


def test_a_silent_tensor_is_refused(build: Any) -> None:
    with pytest.raises(CalibrationError, match=r"^'a' is zero on every calibration image; use images with content$"):
        ranged(build, 0.0, 0.0)


def image_ops(b: Any) -> list[Op]:
    return [b.conv("a", "input", 3, 4), b.conv("b", "input", 3, 4), b.conv("c", "input", 3, 8)]


TIES: dict[str, tuple[Callable[[Any], list[Op]], list[str]]] = {
    "concat": (lambda b: [*image_ops(b), Concat(name="m", inputs=("a", "b")), b.conv("out", "m", 8, 3)], ["a b m"]),
    "depth to space": (
        lambda b: [*image_ops(b), DepthToSpace(name="m", inputs=("a",), block=2), b.conv("out", "m", 1, 3)], ["a m"]
    ),
    "slice": (
        lambda b: [*image_ops(b), Slice(name="m", inputs=("a",), start=1, stop=3), b.conv("out", "m", 2, 3)], ["a m"]
    ),
    "resize": (
        lambda b: [*image_ops(b), ResizeNearest(name="m", inputs=("a",), factor=2), b.conv("out", "m", 4, 3)], ["a m"]
    ),
    "one tensor in two concats": (
        lambda b: [
            *image_ops(b), Concat(name="m", inputs=("a", "b")), Concat(name="n", inputs=("c", "b")),
            Add(name="s", inputs=("m", "c")), b.conv("u", "n", 12, 8), Add(name="v", inputs=("u", "s")),
            b.conv("out", "v", 8, 3),
        ], ["a b c m n"],
    ),
    "two concats apart": (
        lambda b: [
            *image_ops(b), Concat(name="m", inputs=("a", "b")), b.conv("u", "m", 8, 4), Relu(name="r", inputs=("u",)),
            Concat(name="n", inputs=("c", "r")), b.conv("out", "n", 12, 3),
        ], ["a b m", "c n r"],
    ),
    "arithmetic ties nothing": (
        lambda b: [
            *image_ops(b), Add(name="s", inputs=("a", "b")), Mul(name="m", inputs=("a", "s")),
            Sub(name="d", inputs=("m", "b")), Relu(name="r", inputs=("d",)), b.conv("out", "r", 4, 3),
        ], [],
    ),
    "to the output": (
        lambda b: [
            b.conv("a", "input", 3, 12), DepthToSpace(name="d", inputs=("a",), block=2),
            ResizeNearest(name="out", inputs=("d",), factor=2),
        ], ["a d out"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TIES)
def test_what_is_only_moved_shares_one_quantization(case: str, build: Any, noise: Images) -> None:
    make, tied = TIES[case]
    graph = build.graph(*make(build))
    groups = tied_groups(graph)
    assert sorted(name for group in groups for name in group) == sorted(graph.specs)
    assert sorted(" ".join(group) for group in groups if len(group) > 1) == tied
    chosen = choose_ranges(graph, calibrate(graph, noise), RangeRule())
    assert all(len({chosen[name] for name in group}) == 1 for group in groups)
    assert len(set(chosen.values())) == len(groups) - 1, "all others differ, but for the two images"


def test_tied_tensors_hold_the_widest_of_their_ranges(build: Any, noise: Images) -> None:
    graph = build.graph(*TIES["concat"][0](build))
    graph.parameters()["a", "weight"].mul_(10)
    calibration = calibrate(graph, noise)
    chosen = choose_ranges(graph, calibration, MIN_MAX)
    low = min(calibration[name].lowest.min().item() for name in "ab")
    high = max(calibration[name].highest.max().item() for name in "ab")
    assert chosen["m"] == chosen["a"] == chosen["b"] == QuantParams.from_range(low, high)
    assert chosen["m"].scale > 3 * QuantParams.from_range(*MIN_MAX.bounds(calibration["b"])).scale


def join(build: Any, features: Op, *more: Op) -> Graph:
    """The image joined with `f`, and a convolution that reads the two."""
    last = build.conv("out", "j", 6, 3)
    return build.graph(features, *more, Concat(name="j", inputs=("input", "f")), last)


def test_features_joined_with_the_image_must_not_be_clipped(build: Any, noise: Images) -> None:
    graph = join(build, build.conv("f", "input", 3, 3, activation=Activation.RELU))
    graph.parameters()["f", "weight"].mul_(20)
    with pytest.raises(
        ExportError, match=r"^'j' spans .* shares the INT8 range of an image .*'out' would read it clip"
    ):
        choose_ranges(graph, calibrate(graph, noise), RangeRule())


def test_features_joined_with_the_image_may_be_of_its_kind(build: Any, noise: Images) -> None:
    graph = join(build, Slice(name="s", inputs=("input",), start=0, stop=2), build.conv("f", "s", 2, 3, kernel=1))
    weight, bias = graph.parameters()["f", "weight"], graph.parameters()["f", "bias"]
    weight[:], bias[:] = 0.5, 0
    chosen = choose_ranges(graph, calibrate(graph, noise), RangeRule())
    assert {name for name, params in chosen.items() if params is IMAGE_GRID} == {"input", "s", "f", "j", "out"}


def test_what_is_moved_to_the_output_may_be_clipped(build: Any, noise: Images) -> None:
    graph = build.graph(build.conv("a", "input", 3, 12), DepthToSpace(name="out", inputs=("a",), block=2))
    graph.parameters()["a", "bias"].mul_(5)
    assert set(choose_ranges(graph, calibrate(graph, noise), RangeRule()).values()) == {IMAGE_GRID}


@pytest.mark.parametrize(("kind", "params"), [(Sigmoid, QuantParams(1 / 256, -128)), (Tanh, QuantParams(1 / 128, 0))])
def test_functions_of_fixed_range_have_the_grid_that_tflite_prescribes(
    kind: type[Op], params: QuantParams, build: Any, noise: Images, tmp_path: Path
) -> None:
    graph = build.graph(build.conv("a", "input", 3, 4), kind(name="f", inputs=("a",)), build.conv("out", "f", 4, 3))
    chosen = choose_ranges(graph, calibrate(graph, noise), RangeRule())
    assert chosen["f"] == params
    network = QuantizedGraph(graph, chosen, quantize_weights(graph, chosen))
    file, size = tmp_path / "model.tflite", noise[0].shape[:2]
    file.write_bytes(emit_tflite(network, Precision.INT8, IODtype.INT8, [size], {}))
    contract = IOContract(IODtype.INT8, Layout.NHWC, 3, 1, 1.0, (size,), True)
    image = noise[0][None] / 255
    found = LiteRTRunner(file, contract, Kernels.REFERENCE).run(image)  # refuses to load any other grid of Sigmoid
    expected = network.execute(torch.from_numpy(image).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    assert np.abs(found - expected).mean() <= 0.1 / 255  # steps may differ here and there, another grid shifts all


def test_a_function_may_reach_the_end_of_its_own_grid(build: Any, noise: Images) -> None:
    """A sigmoid of 1 is 255/256 in every runtime; only what others made must not be clipped by its grid."""
    ops = [build.conv("a", "input", 3, 4), Sigmoid(name="f", inputs=("a",)), build.conv("out", "f", 4, 3)]
    graph = build.graph(*ops)
    graph.parameters()["a", "weight"].mul_(1000)
    calibration = calibrate(graph, noise)
    assert RangeRule().bounds(calibration["f"])[1] == 1
    assert choose_ranges(graph, calibration, RangeRule())["f"] == QuantParams(1 / 256, -128)


@pytest.mark.parametrize(("kind", "low", "high"), [(Sigmoid, -6.257, 5.141), (Tanh, -3.128, 2.570)])
def test_a_function_alone_needs_no_more_than_it_tells_apart(
    kind: type[Op], low: float, high: float, build: Any, noise: Images
) -> None:
    graph = build.graph(build.conv("a", "input", 3, 4), kind(name="f", inputs=("a",)), build.conv("out", "f", 4, 3))
    assert needed_bounds(graph, "a", (-99.0, 77.0)) == pytest.approx((low, high), abs=1e-3)
    assert needed_bounds(graph, "a", (-1.0, 2.0)) == (-1.0, 2.0)
    wide, grid = torch.linspace(-99, 77, 9001)[None, None, None].double(), QuantParams(1 / 256, -128)
    if kind is Tanh:
        grid = QuantParams(1 / 128, 0)
    function = graph.producer("f")
    assert function is not None
    clipped = wide.clamp(*needed_bounds(graph, "a", (-99.0, 77.0)))
    assert torch.equal(grid.quantize(function.evaluate(clipped)), grid.quantize(function.evaluate(wide)))


def silu(build: Any, *more: Op) -> Graph:
    product = Mul(name="p", inputs=("a", "f"))
    head = [build.conv("a", "input", 3, 3), Sigmoid(name="f", inputs=("a",)), product]
    return build.graph(*head, *more, build.conv("out", more[-1].name if more else "p", 3, 3))


def test_silu_needs_nothing_below_where_its_product_is_zero(build: Any) -> None:
    graph = silu(build)
    assert needed_bounds(graph, "a", (-99.0, 77.0)) == pytest.approx((-6.257, 77.0), abs=1e-3)
    assert needed_bounds(graph, "f", (0.0, 1.0)) == (0.0, 1.0)
    assert needed_bounds(graph, "p", (-0.3, 77.0)) == (-0.3, 77.0)


def test_what_others_read_is_needed_whole(build: Any) -> None:
    assert needed_bounds(silu(build, Add(name="s", inputs=("p", "a"))), "a", (-99.0, 77.0)) == (-99.0, 77.0)


def test_a_prescribed_grid_holds_for_what_it_is_joined_with(build: Any, noise: Images) -> None:
    sigmoids = [Sigmoid(name=name, inputs=(source,)) for name, source in (("f", "a"), ("g", "b"))]
    joined = [*image_ops(build), *sigmoids, Concat(name="m", inputs=("f", "g")), build.conv("out", "m", 8, 3)]
    graph = build.graph(*joined)
    chosen = choose_ranges(graph, calibrate(graph, noise), RangeRule())
    assert chosen["m"] == chosen["f"] == chosen["g"] == QuantParams(1 / 256, -128)


CONFLICTS: dict[str, tuple[Callable[[Any], list[Op]], str]] = {
    "a sigmoid as the image": (
        lambda b: [b.conv("a", "input", 3, 3), Sigmoid(name="out", inputs=("a",))],
        "the image and 'out' have different INT8 grids",
    ),
    "a sigmoid moved to the image": (
        lambda b: [
            b.conv("a", "input", 3, 12), Sigmoid(name="f", inputs=("a",)),
            DepthToSpace(name="out", inputs=("f",), block=2),
        ], "the image and 'f' have different INT8 grids",
    ),
    "a sigmoid and a tanh": (
        lambda b: [
            *image_ops(b), Sigmoid(name="f", inputs=("a",)), Tanh(name="g", inputs=("b",)),
            Concat(name="m", inputs=("f", "g")), b.conv("out", "m", 8, 3),
        ], "'f' and 'g' have different INT8 grids",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFLICTS)
def test_grids_that_exclude_each_other_are_refused(case: str, build: Any, noise: Images) -> None:
    make, message = CONFLICTS[case]
    graph = build.graph(*make(build))
    with pytest.raises(ExportError, match=f"^{message}.*float target$"):
        choose_ranges(graph, calibrate(graph, noise), RangeRule())
