"""Integer weights and biases against loops over their definition."""

from typing import Any

import numpy as np
import pytest
import torch

from edgesr.graph import Graph
from edgesr.ops import Convolution
from edgesr.quant.weights import BIAS_LIMIT, quantize_weight, quantize_weights, weight_scales
from edgesr.quantized import IMAGE_GRID, QuantParams

INPUT_SCALE = 0.0123


@pytest.fixture(params=["dense", "depthwise", "grouped"])
def op(request: pytest.FixtureRequest, build: Any) -> Convolution:
    made: dict[str, Convolution] = {
        "dense": build.conv("a", "input", 6, 5),
        "depthwise": build.depthwise("a", "input", 6, multiplier=2),
        "grouped": build.conv("a", "input", 6, 4, kernel=1, groups=2),
    }
    return made[request.param]


def test_each_output_channel_has_its_own_step(op: Convolution) -> None:
    w = quantize_weight(op, INPUT_SCALE)
    assert (w.values.dtype, w.scales.dtype, w.bias.dtype) == (torch.int8, torch.float64, torch.int32)
    assert len(set(w.scales.tolist())) == op.weight.shape[0]
    for row in range(op.weight.shape[0]):
        real = op.weight[row].numpy()
        step = np.float32(np.abs(real).max() / 127)
        assert w.scales[row].item() == step
        assert np.array_equal(w.values[row].numpy(), np.rint(real / np.float64(step)))


def test_steps_are_what_a_file_stores(op: Convolution) -> None:
    scales = weight_scales(op, INPUT_SCALE)
    assert torch.equal(scales, scales.float().double())


def test_rounding_is_to_the_nearest_and_symmetric(op: Convolution) -> None:
    w = quantize_weight(op, INPUT_SCALE)
    reals = w.values.double() * w.scales[:, None, None, None]
    assert ((reals - op.weight).abs() <= (0.5 + 1e-5) * w.scales[:, None, None, None]).all()
    assert w.values.abs().flatten(1).amax(1).tolist() == [127] * len(w.scales), "-128 is never used, 127 always"
    mirrored = quantize_weight(op.with_parameters({"weight": -op.weight}), INPUT_SCALE)
    assert torch.equal(mirrored.values, -w.values) and torch.equal(mirrored.scales, w.scales)


def test_the_bias_is_in_steps_of_input_times_weight(op: Convolution) -> None:
    assert op.bias is not None
    w = quantize_weight(op, INPUT_SCALE)
    for row, bias in enumerate(op.bias.tolist()):
        assert w.bias[row].item() == round(bias / (w.scales[row].item() * INPUT_SCALE))


def test_no_bias_is_zero(build: Any) -> None:
    w = quantize_weight(build.conv("a", "input", 3, 4, bias=False), INPUT_SCALE)
    assert (w.bias.tolist(), w.bias.dtype) == ([0] * 4, torch.int32)


def with_row(op: Convolution, row: int, weight: float, bias: float) -> Convolution:
    """The convolution with one row's weights multiplied and its bias set."""
    assert op.bias is not None
    weights, biases = op.weight.clone(), op.bias.clone()
    weights[row] *= weight
    biases[row] = bias
    return op.with_parameters({"weight": weights, "bias": biases})


def test_a_zero_channel_is_zero(op: Convolution) -> None:
    w = quantize_weight(with_row(op, 1, 0.0, 0.0), INPUT_SCALE)
    assert not w.values[1].any() and w.bias[1] == 0 and w.scales[1] == 1
    whole = quantize_weight(op, INPUT_SCALE)
    assert torch.equal(w.values[2:], whole.values[2:]) and torch.equal(w.scales[2:], whole.scales[2:])


@pytest.mark.parametrize("bias", [0.4, -0.4, 1e-3, 1e6])
@pytest.mark.parametrize("weight", [0.0, 1e-30, 1e-12, 1e-9, 1e-7])
def test_a_bias_over_almost_no_weight_is_neither_lost_nor_saturated(
    op: Convolution, weight: float, bias: float
) -> None:
    """In steps of input scale * weight scale such a bias would leave int32, and of scale 1 be a whole number."""
    small = with_row(op, 1, weight, bias)
    w = quantize_weight(small, INPUT_SCALE)
    assert abs(w.bias[1].item()) <= 0.51 * BIAS_LIMIT, "headroom for correction and for the sum of products"
    assert w.bias[1].item() * w.scales[1].item() * INPUT_SCALE == pytest.approx(bias, rel=1e-6)
    products = ((w.values[1].double() * w.scales[1] - small.weight[1]).abs() * INPUT_SCALE * 255).sum().item()
    assert products <= 1e-4 * abs(bias), "what coarser weights change is nothing beside the bias"


def test_the_sum_of_bias_and_products_stays_in_int32(build: Any) -> None:
    widest = build.conv("a", "input", 512, 1)
    w = quantize_weight(with_row(widest, 0, 1.0, 1e9), INPUT_SCALE)
    assert w.bias.abs().max().item() + 255 * w.values.abs().sum().item() < 2**31


@pytest.mark.parametrize("size", [1e-38, 1e-42, 1e-300])
def test_steps_that_are_no_normal_numbers_count_as_zero(build: Any, size: float) -> None:
    """XNNPACK refuses weight scales that are zero or subnormal."""
    w = quantize_weight(with_row(build.conv("a", "input", 3, 4), 2, size, 0.0), INPUT_SCALE)
    assert w.scales[2] == 1 and not w.values[2].any()
    assert torch.isfinite(w.scales).all()


def test_every_convolution_of_a_graph_reads_its_own_input_scale(build: Any) -> None:
    graph: Graph = build.graph(build.conv("a", "input", 3, 4), build.depthwise("b", "a", 4), build.conv("c", "b", 4, 3))
    scales = {"input": IMAGE_GRID, "a": QuantParams(0.5, 0), "b": QuantParams(0.03, 7), "c": IMAGE_GRID}
    weights = quantize_weights(graph, scales)
    assert list(weights) == ["a", "b", "c"]
    for name, source in (("a", "input"), ("b", "a"), ("c", "b")):
        op = graph.producer(name)
        assert isinstance(op, Convolution)
        expected = quantize_weight(op, scales[source].scale)
        assert torch.equal(weights[name].values, expected.values) and torch.equal(weights[name].bias, expected.bias)
