"""Rounding to an affine 8-bit grid in float, with gradients for the values, the step and the zero point.

    q = clamp(round(x / s), -z, 255 - z),   y = q s        (z: the zero point, counted from the lowest integer)

Backwards, rounding passes gradients through (straight-through estimator) and clamping stops them; for the step that is
learned step size quantization, dy/ds = q - x/s inside the range and q beyond it (Esser et al., LSQ, 2020); for the zero
point dy/dz = -s beyond the range (Bhalgat et al., LSQ+, 2020).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEVELS = 255


class _Round(torch.autograd.Function):
    """The function of the module's docstring."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, zero_point: Tensor) -> Tensor:
        """The nearest values on the grid."""
        zero = torch.round(zero_point)
        scaled = x * step.reciprocal()
        rounded = torch.round(scaled)
        integers = torch.clamp(rounded, -zero, LEVELS - zero)
        ctx.save_for_backward(scaled, integers, rounded == integers, step)
        return integers * step

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients for the values, the step and the zero point."""
        (grad,) = grads
        scaled, integers, inside, step = ctx.saved_tensors
        passed = grad * inside
        for_step = (grad * integers).sum() - (passed * scaled).sum()
        for_zero = (passed.sum() - grad.sum()) * step
        return passed, for_step, for_zero


def fake_quantize(x: Tensor, step: Tensor, zero_point: Tensor) -> Tensor:
    """`x` of any shape on the grid of a scalar step and a scalar zero point in 0..255, which is rounded."""
    rounded: Tensor = _Round.apply(x, step, zero_point)  # type: ignore[no-untyped-call]  # torch has no types for it
    return rounded
