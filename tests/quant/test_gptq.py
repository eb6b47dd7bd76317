"""GPTQ lowers the error of a layer's output below nearest rounding, on the same grid."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgesr.ops import Conv2d, DepthwiseConv2d
from edgesr.quant.gptq import round_with_gptq
from edgesr.quant.sequential import LayerInputs, dequantize
from edgesr.quant.weights import WEIGHT_LIMIT, quantize_weight
from edgesr.quantized import QuantizedWeight

INPUT_SCALE = 2**-6


@pytest.fixture
def op() -> Conv2d:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 5, 3, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(6, generator=generator, dtype=torch.float64)
    return Conv2d(name="c", inputs=("x",), weight=weight, bias=bias, padding=(1, 1))


@pytest.fixture
def inputs() -> LayerInputs:
    """Smooth, strongly correlated channels, as images give: where GPTQ has something to gain."""
    generator = torch.Generator().manual_seed(1)
    base = F.interpolate(torch.rand(2, 1, 8, 8, generator=generator), scale_factor=4.0, mode="bilinear")
    x = base * torch.rand(1, 5, 1, 1, generator=generator) + 0.05 * torch.rand(2, 5, 32, 32, generator=generator)
    x = torch.round(x / INPUT_SCALE) * INPUT_SCALE
    return LayerInputs(list(x.split(1)), list(x.split(1)), INPUT_SCALE)


def coarse(op: Conv2d) -> QuantizedWeight:
    """Nearest rounding on a grid of 15 steps, where rounding matters."""
    fine = quantize_weight(op, INPUT_SCALE)
    scales = fine.scales * 8
    values = torch.round(op.weight / scales[:, None, None, None])
    assert op.bias is not None
    return QuantizedWeight(values.to(torch.int8), scales, torch.round(op.bias / (scales * INPUT_SCALE)).to(torch.int32))


def output_error(op: Conv2d, weight: QuantizedWeight, inputs: LayerInputs) -> float:
    errors: list[Tensor] = []
    for x in inputs.rounded:
        difference = op.evaluate(x.double()) - dequantize(op, weight, inputs.scale).evaluate(x.double())
        errors.append(difference.square().mean())
    return torch.stack(errors).mean().item()


def test_the_output_error_falls(op: Conv2d, inputs: LayerInputs) -> None:
    nearest = coarse(op)
    refined = round_with_gptq(op, nearest, inputs)
    assert output_error(op, refined, inputs) < output_error(op, nearest, inputs) / 4


def test_the_grid_stays(op: Conv2d, inputs: LayerInputs) -> None:
    nearest = coarse(op)
    refined = round_with_gptq(op, nearest, inputs)
    assert torch.equal(refined.scales, nearest.scales)
    assert refined.values.dtype == torch.int8 and refined.bias.dtype == torch.int32
    assert int(refined.values.abs().max()) <= WEIGHT_LIMIT
    assert not torch.equal(refined.values, nearest.values)


def test_weights_on_the_grid_are_not_moved(op: Conv2d, inputs: LayerInputs) -> None:
    nearest = coarse(op)
    on_grid = dequantize(op, nearest, INPUT_SCALE)
    assert isinstance(on_grid, Conv2d)
    refined = round_with_gptq(on_grid, nearest, inputs)
    assert torch.equal(refined.values, nearest.values) and torch.equal(refined.bias, nearest.bias)


def test_inputs_that_never_move_leave_nearest_rounding(op: Conv2d) -> None:
    silent = [torch.zeros(1, 5, 16, 16)]
    nearest = coarse(op)
    refined = round_with_gptq(op, nearest, LayerInputs(silent, silent, INPUT_SCALE))
    assert torch.equal(refined.values, nearest.values)


def test_one_dead_input_channel_does_no_harm(op: Conv2d, inputs: LayerInputs) -> None:
    dead = [torch.cat([x[:, :4], torch.zeros_like(x[:, 4:])], 1) for x in inputs.rounded]
    part = LayerInputs(dead, dead, INPUT_SCALE)
    nearest = coarse(op)
    refined = round_with_gptq(op, nearest, part)
    assert output_error(op, refined, part) < output_error(op, nearest, part) / 4
    assert torch.equal(refined.values[:, 4], nearest.values[:, 4])


def test_no_bias_may_become_one(inputs: LayerInputs) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 5, 3, 3, generator=generator, dtype=torch.float64)
    op = Conv2d(name="c", inputs=("x",), weight=weight, padding=(1, 1))
    with_zero = Conv2d(name="c", inputs=("x",), weight=weight, bias=torch.zeros(6).double(), padding=(1, 1))
    nearest = coarse(with_zero)
    assert output_error(op, round_with_gptq(op, nearest, inputs), inputs) < output_error(op, nearest, inputs) / 4


def test_depthwise_convolutions_stay(inputs: LayerInputs) -> None:
    weight = torch.randn(5, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    op = DepthwiseConv2d(name="d", inputs=("x",), weight=weight, padding=(1, 1), channels=5)
    nearest = quantize_weight(op, INPUT_SCALE)
    assert round_with_gptq(op, nearest, inputs) is nearest
