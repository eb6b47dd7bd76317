"""The float32 gate where products cancel: a plain sum leaves the limit, the split one does not."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason='Triton is not installed: pip install "edgesr[cuda]"'
)
LIMIT = 1e-6


def cancelling(channels: int, times: float) -> tuple[Tensor, ...]:
    """x, f, w, b where the second half of the channels takes back what the first half brings, all but 1 / times."""
    generator = torch.Generator().manual_seed(channels)
    half = channels // 2
    x, f = (torch.randn(1, channels, 7, 10, generator=generator) for _ in range(2))
    f[:, half:] = f[:, :half] * (1 + torch.randn(1, half, 7, 10, generator=generator) / times)
    w = torch.randn(channels, half, 1, 1, generator=generator) / channels**0.5
    return x, f, torch.cat([w, -w], 1), torch.randn(channels, generator=generator) / times


def exact(x: Tensor, f: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return (x.double() + f.double()) * F.conv2d(f.double(), w.double(), b.double())


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("times", [30, 240])
@pytest.mark.parametrize("channels", [24, 32, 64])
def test_what_cancels(channels: int, times: float) -> None:
    from edgesr.runtime.cuda.gate_kernel import fused_gate

    x, f, w, b = cancelling(channels, times)
    expected = exact(x, f, w, b)
    found = fused_gate(x, f, w, b)
    assert relative(found, expected) <= LIMIT
    assert relative(fused_gate(x.contiguous(memory_format=torch.channels_last), f, w, b), expected) <= LIMIT
    plain = one_by_one(f, [(w.numpy(), f.numpy())])
    assert relative((x + f) * (plain + b[:, None, None]), expected) > LIMIT, "the plain sum fails"


@pytest.mark.parametrize("channels", [24, 32, 64])
def test_a_gpu_adds_one_product_after_the_other(channels: int) -> None:
    """The interpreter sums a slice's products by themselves; the order and the roundings of a GPU, in NumPy."""
    x, f, w, b = cancelling(channels, 240)
    high_f, high_w = (high(t.numpy(), t.abs().amax(1, keepdim=True).numpy()) for t in (f, w))
    low_f, low_w = f.numpy() - high_f, w.numpy() - high_w
    main = one_by_one(f, [(high_w, high_f)])
    assert torch.equal(main.double(), F.conv2d(torch.from_numpy(high_f).double(), torch.from_numpy(high_w).double()))
    gate = one_by_one(f, [(high_w, high_f), (low_w, high_f), (w.numpy(), low_f)]) + b[:, None, None]
    assert relative((x + f) * gate, exact(x, f, w, b)) <= LIMIT


def high(values: np.ndarray, largest: np.ndarray) -> np.ndarray:
    s = np.float32(1.5 * 2.0**15) * np.float32(2) ** np.floor(np.log2(largest)).astype(np.float32)
    return (values + s) - s


def one_by_one(f: Tensor, products: list[tuple[np.ndarray, np.ndarray]]) -> Tensor:
    """Fused multiplies and adds in float32, channel after channel; a product of two float32 is exact in float64."""
    total = np.zeros(f.shape, np.float32)
    for w, values in products:
        for channel in range(w.shape[1]):
            product = w[None, :, channel].astype(np.float64) * values[:, channel, None].astype(np.float64)
            total = (product + total).astype(np.float32)
    return torch.from_numpy(total)


def test_values_of_every_size() -> None:
    from edgesr.runtime.cuda.gate_kernel import fused_gate

    x, f, w, b = cancelling(24, 15)
    for scale in (2.0**-60, 2.0**50):
        assert relative(fused_gate(scale * x, scale * f, w, scale * b), scale**2 * exact(x, f, w, b)) <= LIMIT
    f[:, :, 1] = 0
    assert relative(fused_gate(x, f, w, b), exact(x, f, w, b)) <= LIMIT
    f[:, 3, 2, 2] = 3e38
    assert relative(fused_gate(0 * x, f * 1e-30, w * 1e-30, b * 0), exact(0 * x, f * 1e-30, w * 1e-30, b * 0)) <= LIMIT
    assert bool(fused_gate(x - f, f, w, b)[:, :, 2, 2].isfinite().all()), "the grid of the largest float32 is finite"


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy's, of inf - inf in the interpreter
def test_infinity_makes_its_position_nan() -> None:
    from edgesr.runtime.cuda.gate_kernel import fused_gate

    x, f, w, b = cancelling(24, 15)
    f[:, 3, 2, 2] = torch.inf
    found = fused_gate(x, f, w, b)
    assert bool(found[:, :, 2, 2].isnan().all()) and int(found.isnan().sum()) == x.shape[1], "that position alone"
