"""The terms of a training loss, between an output y and a target t, both (N, C, H, W) in [0, 1]; all are means.

    l1          |y - t|
    charbonnier sqrt((y - t)^2 + 1e-6)                           L1 with a smooth foot
    mse         (y - t)^2                                        what PSNR measures
    fft         |F(y) - F(t)|, real and imaginary parts apart    F: the 2-D DFT of each channel, not normalised
    gradient    |D y - D t|                                      D: differences of neighbours, down and to the right

The DFT is not normalised, as in the papers that weigh it by 0.05 to 0.1: of an error that is white its term grows with
the side of the crop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor
from torch.nn import functional as F

from edgesr.model.training.config import LossWeights

CHARBONNIER_EPSILON = 1e-6
Loss = Callable[[Tensor, Tensor], Tensor]


def charbonnier(output: Tensor, target: Tensor) -> Tensor:
    """L1 with a smooth foot."""
    return torch.sqrt((output - target).square() + CHARBONNIER_EPSILON).mean()


def fft(output: Tensor, target: Tensor) -> Tensor:
    """L1 of the difference of the spectra."""
    return torch.view_as_real(torch.fft.rfft2(output - target)).abs().mean()


def gradient(output: Tensor, target: Tensor) -> Tensor:
    """L1 of the difference of the finite differences, the mean of both directions."""
    error = output - target
    return (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()) / 2


TERMS: dict[str, Loss] = {
    "l1": F.l1_loss,
    "charbonnier": charbonnier,
    "mse": F.mse_loss,
    "fft": fft,
    "gradient": gradient,
}
"""The function of each field of `LossWeights`."""


def weighted_loss(weights: LossWeights, output: Tensor, target: Tensor) -> Tensor:
    """The sum of all terms by their weights."""
    terms = [(getattr(weights, term.name), TERMS[term.name]) for term in fields(weights)]
    return torch.stack([weight * term(output, target) for weight, term in terms if weight]).sum()
