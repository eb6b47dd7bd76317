"""Small graphs, networks and images: as fixtures, since test modules cannot import one another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.architecture import SRModel
from edgesr.export.capture import capture
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.graph import Graph
from edgesr.model.registry import load_model
from edgesr.model.spanv2 import SPANV2
from edgesr.ops import Constant, Conv2d, DepthwiseConv2d, Op, TensorSpec
from edgesr.quant.images import load_calibration_images

SIZES = ((7, 5), (1, 1), (1, 6), (2, 9))
ROUNDING = 1e-12  # of the largest output: float64 through tens of layers; a wrong channel differs by whole units


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


class Build:
    """Operators with random float64 weights, and graphs of them."""

    @staticmethod
    def conv(
        name: str, source: str, inputs: int, outputs: int, kernel: int = 3, bias: bool = True, **fields: Any
    ) -> Conv2d:
        """A convolution, padded to keep the size unless told; weights as large as keep the variance."""
        fields = {"padding": (kernel // 2, kernel // 2)} | fields
        fan_in = inputs // int(fields.get("groups", 1))
        return Conv2d(
            name=name,
            inputs=(source,),
            weight=torch.randn(outputs, fan_in, kernel, kernel, dtype=torch.float64) / (kernel * fan_in**0.5),
            bias=torch.randn(outputs, dtype=torch.float64) if bias else None,
            **fields,
        )

    @staticmethod
    def depthwise(
        name: str, source: str, channels: int, multiplier: int = 1, kernel: int = 3, bias: bool = True, **fields: Any
    ) -> DepthwiseConv2d:
        """A depthwise convolution, padded to keep the size unless told."""
        fields = {"padding": (kernel // 2, kernel // 2)} | fields
        return DepthwiseConv2d(
            name=name,
            inputs=(source,),
            weight=torch.randn(channels * multiplier, 1, kernel, kernel, dtype=torch.float64) / kernel,
            bias=torch.randn(channels * multiplier, dtype=torch.float64) if bias else None,
            channels=channels,
            **fields,
        )

    @staticmethod
    def constant(name: str, values: list[float]) -> Constant:
        """One value for each channel."""
        return Constant(name=name, inputs=(), value=torch.tensor(values, dtype=torch.float64))

    @staticmethod
    def graph(*ops: Op, channels: int = 3, output: str | None = None) -> Graph:
        """Operators as a graph; the output is the last one's unless told."""
        return Graph("test", TensorSpec("input", channels), ops, output or ops[-1].name)


@pytest.fixture(scope="session")
def build() -> Build:
    return Build()


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Graph, Graph], None]:
    """Two graphs compute the same in float64: odd sizes, borders, a batch."""

    def check(before: Graph, after: Graph) -> None:
        for height, width in SIZES:
            x = 2 * torch.rand(2, before.input.channels, height, width, dtype=torch.float64) - 0.5
            expected, actual = before.execute(x), after.execute(x)
            assert actual.shape == expected.shape
            assert (actual - expected).abs().max() <= ROUNDING * expected.abs().max(), f"at {height}x{width}"

    return check


@pytest.fixture(scope="session")
def photographs() -> tuple[np.ndarray, ...]:
    """Twelve natural images of 40x48."""
    pieces = load_calibration_images(None).pieces
    return tuple(piece[20:60, 30:78].copy() for piece in pieces[::3])


@pytest.fixture(scope="session")
def noise() -> tuple[np.ndarray, ...]:
    """Three images of independent uniform pixels, of different sizes."""
    generator = np.random.default_rng(0)
    return tuple(generator.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((24, 31), (20, 20), (9, 40)))


@pytest.fixture(scope="session")
def small_spanv2() -> Graph:
    """SPANV2 with 8 channels, 2 blocks and scale 2, folded; near its start, so that it returns the image."""
    torch.manual_seed(0)
    module = SPANV2(channels=8, blocks=2, scale=2)
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.1 * torch.randn_like(weight) * weight.std().clamp_min(0.1)
    module.eval().requires_grad_(False)
    graph, _ = run_folds(capture(SRModel("small", "spanv2", module, {}, 2, "test", "")), NATIVE_FOLDS)
    return graph


@pytest.fixture(scope="session")
def official_model(shared: Path) -> SRModel:
    return load_model(weights=shared / "checkpoints" / "spanv2_x4_official.pth")


@pytest.fixture(scope="session")
def official_spanv2(official_model: SRModel) -> Graph:
    """SPANV2 x4 with the official weights, folded."""
    graph, _ = run_folds(capture(official_model), NATIVE_FOLDS)
    return graph
