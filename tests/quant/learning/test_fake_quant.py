"""Rounding in float: the values are those of `QuantParams`, the gradients those of LSQ and LSQ+."""

import pytest
import torch
from torch import Tensor

from edgesr.quant.learning.fake_quant import LEVELS, fake_quantize
from edgesr.quantized import QuantParams, as_stored

STEP = as_stored(0.0371)
ZEROS = [0.0, 17.0, 128.0, 200.4, 254.6, 255.0]


def values(zero: float) -> Tensor:
    """Float64 values within the range and beyond both ends, none near the middle between two steps or at an end."""
    steps = torch.arange(-zero // 1 - 40, LEVELS - zero // 1 + 40).double()
    return (steps + 0.8 * torch.rand(steps.shape, dtype=torch.float64) - 0.4) * STEP


def apply(x: Tensor, zero: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The rounded values, and the leaves that they come from: values, step and zero point."""
    x = x.clone().requires_grad_()
    step, zero_point = (torch.tensor(value, dtype=x.dtype, requires_grad=True) for value in (STEP, zero))
    return fake_quantize(x, step, zero_point), x, step, zero_point


@pytest.mark.parametrize("zero", ZEROS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_are_those_of_the_integers(zero: float, dtype: torch.dtype) -> None:
    params = QuantParams(STEP, round(zero) - 128)
    x = values(zero).to(dtype)
    expected = params.dequantize(params.quantize(x))
    found = fake_quantize(x, torch.tensor(STEP, dtype=dtype), torch.tensor(zero, dtype=dtype))
    assert torch.equal(found, expected)
    assert len(set(found.tolist())) == 256, "all integers must occur, or this test proves less"


def relaxed(x: Tensor, offset: Tensor, step: float, zero: float) -> Tensor:
    """The formula with what rounding added taken as a constant, as the straight-through estimator does."""
    return (x / step + offset).clamp(-zero, LEVELS - zero) * step


@pytest.mark.parametrize("zero", [0.0, 17.0, 200.0, 255.0])
def test_gradients_are_the_differences_of_the_relaxed_formula(zero: float) -> None:
    x = values(zero)
    x = x[((x / STEP + zero) - LEVELS / 2).abs().sub(LEVELS / 2).abs() > 0.6]  # the ends themselves are below
    y, *leaves = apply(x, zero=zero)
    weights = torch.randn_like(x)
    for_x, for_step, for_zero = torch.autograd.grad((y * weights).sum(), leaves)
    offset, h = torch.round(x / STEP) - x / STEP, 1e-6

    def difference(plus: Tensor, minus: Tensor, width: float) -> Tensor:
        return (plus - minus) / (2 * width) * weights

    by_x = difference(relaxed(x + h, offset, STEP, zero), relaxed(x - h, offset, STEP, zero), h)
    by_step = difference(relaxed(x, offset, STEP + h, zero), relaxed(x, offset, STEP - h, zero), h)
    by_zero = difference(relaxed(x, offset, STEP, zero + h), relaxed(x, offset, STEP, zero - h), h)
    # central differences: an error of h^2 and rounding of 1e-16 / h for each value
    assert torch.allclose(for_x, by_x, rtol=0, atol=1e-6)
    assert for_step.item() == pytest.approx(by_step.sum().item(), abs=1e-3)
    assert for_zero.item() == pytest.approx(by_zero.sum().item(), abs=1e-6)
    assert by_step.sum().abs() > 0.1 and by_zero.sum().abs() > 1e-3


@pytest.mark.parametrize(("x", "integer"), [(-100.0, -17), (100.0, 238)])
def test_beyond_the_range_the_gradients_are_exact(x: float, integer: int) -> None:
    """There the function itself is differentiable in the step, and moves by whole steps with the zero point."""
    y, *leaves = apply(torch.tensor([x], dtype=torch.float64), zero=17)
    for_x, for_step, for_zero = torch.autograd.grad(y.sum(), leaves)
    assert y.item() == integer * STEP
    assert (for_x.item(), for_step.item()) == (0, integer)
    ahead = apply(torch.tensor([x], dtype=torch.float64), zero=18)[0]
    assert for_zero.item() == pytest.approx((ahead - y).item(), rel=1e-12) == -STEP


def test_inside_the_step_s_gradient_is_what_rounding_added() -> None:
    y, *leaves = apply(torch.tensor([7.3 * STEP], dtype=torch.float64), zero=17)
    for_x, for_step, for_zero = torch.autograd.grad(y.sum(), leaves)
    assert (for_x.item(), for_zero.item()) == (1, 0)
    assert for_step.item() == pytest.approx(7 - 7.3, abs=1e-12)


@pytest.mark.parametrize("integer", [-17, 238])
@pytest.mark.parametrize(("offset", "inside"), [(-0.4, True), (0.4, True), (0.6, False)])
def test_what_rounds_to_the_end_of_the_range_is_inside(integer: int, offset: float, inside: bool) -> None:
    x = (integer + offset * (1 if integer > 0 else -1)) * STEP
    y, *leaves = apply(torch.tensor([x], dtype=torch.float64), zero=17)
    (for_x,) = torch.autograd.grad(y.sum(), leaves[:1])
    assert (y.item(), for_x.item()) == (integer * STEP, float(inside))


def test_gradients_have_the_shapes_of_what_they_are_for() -> None:
    y, *leaves = apply(torch.randn(2, 3, 4, 5), zero=100)
    grads = torch.autograd.grad(y.square().sum(), leaves)
    assert [grad.shape for grad in grads] == [leaf.shape for leaf in leaves]
