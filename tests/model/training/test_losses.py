import math

import numpy as np
import pytest
import torch

from edgesr.model.training.config import LossWeights
from edgesr.model.training.losses import TERMS, weighted_loss

RNG = np.random.default_rng(0)
Y, T = (torch.from_numpy(RNG.random((2, 3, 6, 8))) for _ in range(2))


def by_numpy(name: str) -> float:
    y, t = Y.numpy(), T.numpy()
    if name == "fft":
        # rfft2 leaves out what conjugate symmetry repeats: of 8 columns 5 stay
        spectrum = np.fft.fft2(y - t)[..., :5]
        return float((np.abs(spectrum.real).mean() + np.abs(spectrum.imag).mean()) / 2)
    if name == "gradient":
        down = np.abs((y[:, :, 1:] - y[:, :, :-1]) - (t[:, :, 1:] - t[:, :, :-1])).mean()
        right = np.abs((y[..., 1:] - y[..., :-1]) - (t[..., 1:] - t[..., :-1])).mean()
        return float((down + right) / 2)
    error = y - t
    pointwise = {"l1": np.abs(error), "mse": error**2, "charbonnier": np.sqrt(error**2 + 1e-6)}
    return float(pointwise[name].mean())


@pytest.mark.parametrize("name", TERMS)
def test_terms_follow_their_formulas(name: str) -> None:
    assert float(TERMS[name](Y, T)) == pytest.approx(by_numpy(name), rel=1e-12)


def test_terms_are_summed_by_weight() -> None:
    found = weighted_loss(LossWeights(l1=0.5, fft=0.05, gradient=2.0), Y, T)
    assert float(found) == pytest.approx(0.5 * by_numpy("l1") + 0.05 * by_numpy("fft") + 2 * by_numpy("gradient"))


@pytest.mark.parametrize("name", TERMS)
def test_gradients_are_finite_where_output_and_target_agree(name: str) -> None:
    output = T.clone().requires_grad_()
    TERMS[name](output, T).backward()  # type: ignore[no-untyped-call]  # torch's own annotation is incomplete
    assert output.grad is not None and math.isfinite(float(output.grad.abs().sum()))
