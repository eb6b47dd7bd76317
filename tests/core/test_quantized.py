import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgesr.errors import ExportError
from edgesr.graph import Graph
from edgesr.ops import Activation, Concat, Conv2d, DepthToSpace, DepthwiseConv2d, Mul, Relu, TensorSpec
from edgesr.quantized import IMAGE_GRID, QuantizedGraph, QuantizedWeight, QuantParams, as_stored

GENERATOR = torch.Generator().manual_seed(0)


def test_the_affine_map() -> None:
    params = QuantParams(0.5, 3)
    assert params.dequantize(torch.tensor([3.0, 5.0, -128.0])).tolist() == [0.0, 1.0, -65.5]
    assert params.quantize(torch.tensor([0.0, 1.0, -65.5])).tolist() == [3.0, 5.0, -128.0]


@pytest.mark.parametrize("bits", [8, 16])
def test_every_integer_comes_back(bits: int) -> None:
    params = QuantParams(as_stored(0.0123), 7, bits)
    integers = torch.arange(params.lowest, params.highest + 1, dtype=torch.float64)
    assert len(integers) == 1 << bits
    assert torch.equal(params.quantize(params.dequantize(integers)), integers)


def test_halves_round_to_even() -> None:
    halves = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert QuantParams(1.0, 0).quantize(halves).tolist() == [-2, -2, 0, 0, 2, 2]
    # rounded before the zero point is added: an odd zero point does not turn the direction
    assert QuantParams(1.0, 1).quantize(halves).tolist() == [-1, -1, 1, 1, 3, 3]


@pytest.mark.parametrize(("bits", "lowest", "highest"), [(8, -128, 127), (16, -32768, 32767), (4, -8, 7)])
def test_saturates_at_the_ends(bits: int, lowest: int, highest: int) -> None:
    params = QuantParams(1.0, 0, bits)
    assert (params.lowest, params.highest) == (lowest, highest)
    outside = torch.tensor([-1e9, lowest - 1, highest + 1, 1e9, math.inf, -math.inf])
    assert params.quantize(outside).tolist() == [lowest, lowest, highest, highest, highest, lowest]


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32])
def test_stored_integers_do_not_wrap_around(dtype: torch.dtype) -> None:
    reals = IMAGE_GRID.dequantize(torch.tensor([-128, 0, 127], dtype=dtype))
    assert reals.dtype == torch.float64
    assert reals.tolist() == [0.0, 128 * IMAGE_GRID.scale, 255 * IMAGE_GRID.scale]


def test_quantize_keeps_the_dtype() -> None:
    for dtype in (torch.float32, torch.float64):
        assert IMAGE_GRID.quantize(torch.rand(3, dtype=dtype)).dtype == dtype


def test_the_image_grid_is_bytes_minus_128() -> None:
    for dtype in (torch.float32, torch.float64):
        bytes_ = torch.arange(256, dtype=dtype)
        assert torch.equal(IMAGE_GRID.quantize(bytes_ / 255), bytes_ - 128)
        back = IMAGE_GRID.dequantize(bytes_ - 128)
        assert (back - bytes_ / 255).abs().max() <= 2 * torch.finfo(torch.float32).eps


RANGES = [
    (0.0, 1.0), (-1.0, 1.0), (-1.0, 0.0), (0.2, 3.0), (-7.0, -0.1), (-1e-9, 1e-9), (0.0, 0.0), (-1e20, 3.0),
    (1e-30, 1e-20), (-0.3, 17.77), (-123.4, 0.01),
]  # fmt: skip


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_a_range_holds_zero_exactly_and_spans_the_integers(low: float, high: float, bits: int) -> None:
    params = QuantParams.from_range(low, high, bits)
    assert params.dequantize(params.quantize(torch.zeros(1))).item() == 0.0
    assert params.scale == float(np.float32(params.scale)), "the scale is what a file holds"
    ends = torch.tensor([min(low, 0.0), max(high, 0.0)], dtype=torch.float64)
    back = params.dequantize(params.quantize(ends))
    wanted = params.lowest - min(low, 0.0) / params.scale
    assert abs(params.zero_point - wanted) <= 0.5 or params.zero_point == params.highest
    # half a step from rounding the zero point, half from rounding the value
    assert (back - ends).abs().max() <= params.scale * (1 + 1e-6)
    span = ends[1] - ends[0]
    if span > 1e-9:
        assert params.scale == pytest.approx(span.item() / ((1 << bits) - 1), rel=1e-7), "and wastes no integers"


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, -1.0), (0.0, math.inf), (-math.inf, 0.0), (math.nan, 1.0), (0.0, math.nan)]
)
def test_a_range_must_be_finite_and_in_order(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="is not finite and in order"):
        QuantParams.from_range(low, high)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_scales_must_be_positive_and_finite(scale: float) -> None:
    with pytest.raises(ValueError, match="is not positive and finite"):
        QuantParams(scale, 0)


@pytest.mark.parametrize(("zero_point", "bits"), [(-129, 8), (128, 8), (32768, 16), (8, 4)])
def test_zero_points_must_be_integers_of_the_range(zero_point: int, bits: int) -> None:
    with pytest.raises(ValueError, match=f"zero point {zero_point} lies outside"):
        QuantParams(1.0, zero_point, bits)


def test_as_stored_is_float32() -> None:
    assert as_stored(0.1) == 0.10000000149011612
    assert as_stored(as_stored(0.1)) == as_stored(0.1)


def integers(*shape: int) -> Tensor:
    return torch.randint(-127, 128, shape, generator=GENERATOR, dtype=torch.int8)


def weight(outputs: int, inputs: int, kernel: int) -> QuantizedWeight:
    scales = 0.005 + 0.01 * torch.rand(outputs, generator=GENERATOR, dtype=torch.float64)
    bias = torch.randint(-5000, 5000, (outputs,), generator=GENERATOR, dtype=torch.int32)
    return QuantizedWeight(integers(outputs, inputs, kernel, kernel), scales.float().double(), bias)


def conv(name: str, source: str, inputs: int, outputs: int, kernel: int = 3, **fields: Activation) -> Conv2d:
    """With weights that must not matter: a quantized graph computes from its integers."""
    nan = torch.full((outputs, inputs, kernel, kernel), math.nan, dtype=torch.float64)
    return Conv2d(name=name, inputs=(source,), weight=nan, padding=(kernel // 2, kernel // 2), **fields)


DEPTHWISE = DepthwiseConv2d(
    name="d", inputs=("j",), weight=torch.full((7, 1, 3, 3), math.nan), padding=(1, 1), channels=7
)
GRAPH = Graph(
    "test",
    TensorSpec("x", 3),
    (
        conv("a", "x", 3, 4, activation=Activation.RELU),
        conv("g", "a", 4, 4, kernel=1),
        Mul(name="m", inputs=("a", "g")),
        Concat(name="j", inputs=("x", "m")),
        DEPTHWISE,
        conv("h", "d", 7, 12, kernel=1),
        DepthToSpace(name="out", inputs=("h",), block=2),
    ),
    "out",
)
WEIGHTS = {"a": weight(4, 3, 3), "g": weight(4, 4, 1), "d": weight(7, 1, 3), "h": weight(12, 7, 1)}
RANGE = {"a": (0, 3), "g": (-2, 2.5), "m": (-1, 4), "d": (-3, 3), "j": (-1, 4), "h": (0, 1), "out": (0, 1)}
ACTIVATIONS = {"x": IMAGE_GRID} | {name: QuantParams.from_range(*bounds) for name, bounds in RANGE.items()}
QUANTIZED = QuantizedGraph(GRAPH, ACTIVATIONS, WEIGHTS)


def convolved_in_integers(op: Conv2d | DepthwiseConv2d, q: Tensor) -> Tensor:
    """TFLite's INT8 convolution, with exact multipliers: int32 sums, rescaled, rounded, clamped to the activation."""
    x, y, w = ACTIVATIONS[op.inputs[0]], ACTIVATIONS[op.name], WEIGHTS[op.name]
    centred = q.double() - x.zero_point
    sums = torch.nn.functional.conv2d(centred, w.values.double(), None, 1, op.padding, 1, op.group_count)
    sums += w.bias.double()[:, None, None]
    assert torch.equal(sums, sums.round()) and sums.abs().max() < 2**31
    result = torch.round(sums * (x.scale * w.scales / y.scale)[:, None, None]) + y.zero_point
    return result.clamp(y.zero_point if op.activation is Activation.RELU else -128, 127)


@pytest.mark.parametrize("name", WEIGHTS)
def test_convolutions_are_the_integer_arithmetic(name: str) -> None:
    op = GRAPH.producer(name)
    assert isinstance(op, (Conv2d, DepthwiseConv2d))
    q = integers(2, GRAPH.specs[op.inputs[0]].channels, 5, 7)
    actual = QUANTIZED.evaluate_integers(op, q)
    assert actual.dtype == torch.float64 and torch.equal(actual, actual.round())
    assert torch.equal(actual, convolved_in_integers(op, q))
    assert actual.unique().numel() > 50, "the comparison must not be one of saturated values"


def test_a_product_rounds_once() -> None:
    a, g = integers(2, 4, 5, 7), integers(2, 4, 5, 7)
    steps = Fraction(ACTIVATIONS["a"].scale) * Fraction(ACTIVATIONS["g"].scale) / Fraction(ACTIVATIONS["m"].scale)
    exact = [
        round((int(i) - ACTIVATIONS["a"].zero_point) * (int(j) - ACTIVATIONS["g"].zero_point) * steps)
        + ACTIVATIONS["m"].zero_point
        for i, j in zip(a.flatten(), g.flatten(), strict=True)
    ]
    op = GRAPH.producer("m")
    assert op is not None
    actual = QUANTIZED.evaluate_integers(op, a, g).flatten()
    assert actual.tolist() == [min(max(q, -128), 127) for q in exact]


@pytest.mark.parametrize("size", [(5, 7), (1, 1)])
def test_execute_is_evaluate_integers_operator_by_operator(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size, generator=GENERATOR, dtype=torch.float64) * 1.2 - 0.1  # some of it saturates
    values = {"x": QUANTIZED.input.quantize(x)}
    for op in GRAPH:
        values[op.name] = QUANTIZED.evaluate_integers(op, *(values[name] for name in op.inputs))
    output = QUANTIZED.execute(x)
    assert output.shape == (2, 3, 2 * size[0], 2 * size[1])
    assert torch.equal(QUANTIZED.output.quantize(output), values["out"])


def test_a_changed_integer_would_be_caught() -> None:
    wrong = replace(WEIGHTS["g"], values=WEIGHTS["g"].values.clone())
    wrong.values[0, 0, 0, 0] -= 20
    x = torch.rand(2, 3, 5, 7, generator=GENERATOR, dtype=torch.float64)
    changed = QuantizedGraph(GRAPH, ACTIVATIONS, WEIGHTS | {"g": wrong})
    assert not torch.equal(changed.execute(x), QUANTIZED.execute(x))


def test_the_dequantized_graph_holds_the_reals_of_the_integers() -> None:
    op = QUANTIZED.dequantized_op("a")
    assert isinstance(op, Conv2d) and op.bias is not None
    w = WEIGHTS["a"]
    assert op.weight[1, 2, 0, 1].item() == w.values[1, 2, 0, 1].item() * w.scales[1].item()
    assert op.bias[3].item() == w.bias[3].item() * w.scales[3].item() * IMAGE_GRID.scale
    assert op.activation is Activation.RELU
    assert QUANTIZED.dequantized_op("m") is GRAPH.producer("m")
    with pytest.raises(KeyError, match="nothing"):
        QUANTIZED.dequantized_op("nothing")


def test_input_and_output() -> None:
    assert QUANTIZED.input is IMAGE_GRID
    assert QUANTIZED.output is ACTIVATIONS["out"]


INCOMPLETE: dict[str, tuple[Callable[[], QuantizedGraph], str]] = {
    "a tensor": (lambda: QuantizedGraph(GRAPH, without(ACTIVATIONS, "m"), WEIGHTS), "no quantization for m"),
    "the image": (lambda: QuantizedGraph(GRAPH, without(ACTIVATIONS, "x"), WEIGHTS), "no quantization for x"),
    "weights": (lambda: QuantizedGraph(GRAPH, ACTIVATIONS, without(WEIGHTS, "d")), "no quantization for d"),
    "much": (lambda: QuantizedGraph(GRAPH, {}, {}), "no quantization for x, a, g, m, j"),
}


def without(items: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: item for name, item in items.items() if name != key}


@pytest.mark.parametrize("case", INCOMPLETE)
def test_every_tensor_and_convolution_needs_its_integers(case: str) -> None:
    make, message = INCOMPLETE[case]
    with pytest.raises(ExportError, match=f"{message}$"):
        make()


@pytest.mark.parametrize("field", ["scales", "bias"])
def test_weights_need_one_scale_and_bias_for_each_output_channel(field: str) -> None:
    with pytest.raises(ValueError, match="one for each output channel"):
        replace(WEIGHTS["a"], **{field: torch.ones(3)})


def test_relu_alone_clamps_at_the_zero_point() -> None:
    graph = Graph("test", TensorSpec("x", 1), (Relu(name="r", inputs=("x",)),), "r")
    params = QuantParams.from_range(-1, 1)
    quantized = QuantizedGraph(graph, {"x": params, "r": params}, {})
    ramp = torch.arange(-128, 128).reshape(1, 1, 16, 16)
    assert torch.equal(quantized.evaluate_integers(graph.ops[0], ramp), ramp.clamp(min=params.zero_point).double())


def test_a_symmetric_grid_spans_both_ways_from_zero() -> None:
    params = QuantParams.symmetric(2.0)
    assert (params.bits, params.zero_point) == (16, 0) and params.scale == as_stored(2 / 32767)
    ends = params.quantize(torch.tensor([-2.0, 0.0, 2.0, 9.0], dtype=torch.float64))
    assert ends.tolist() == [-32767, 0, 32767, 32767]
    assert QuantParams.symmetric(0.0).scale > 0, "a tensor that never leaves zero"


@pytest.mark.parametrize("reach", [-1.0, float("inf"), float("nan")])
def test_a_reach_is_finite(reach: float) -> None:
    with pytest.raises(ValueError, match="is not finite and positive"):
        QuantParams.symmetric(reach)
