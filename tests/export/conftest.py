"""Builders of small graphs, networks and comparisons: as fixtures, since test modules cannot import one another."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgesr.architecture import SRModel
from edgesr.export.capture import capture
from edgesr.export.folds.fold import Fold, FoldResult
from edgesr.graph import Graph
from edgesr.model.registry import load_model
from edgesr.model.spanv2 import SPANV2
from edgesr.ops import Constant, Conv2d, DepthwiseConv2d, Op, TensorSpec

SHARED = Path(os.environ.get("EDGESR_SHARED", Path(__file__).parents[3] / "shared"))
OFFICIAL = SHARED / "checkpoints" / "spanv2_x4_official.pth"
SIZES = ((7, 5), (1, 1), (1, 6), (2, 9))
ROUNDING = 1e-12  # of the largest output: float64 through tens of layers; a wrong channel differs by whole units


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


class Build:
    """Operators with random float64 weights, and graphs of them."""

    @staticmethod
    def conv(
        name: str,
        source: str,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        bias: bool = True,
        groups: int = 1,
        **fields: Any,
    ) -> Conv2d:
        """A convolution, padded to keep the size unless told."""
        fields = {"padding": (kernel // 2, kernel // 2)} | fields
        return Conv2d(
            name=name,
            inputs=(source,),
            weight=torch.randn(outputs, inputs // groups, kernel, kernel, dtype=torch.float64),
            bias=torch.randn(outputs, dtype=torch.float64) if bias else None,
            groups=groups,
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
            weight=torch.randn(channels * multiplier, 1, kernel, kernel, dtype=torch.float64),
            bias=torch.randn(channels * multiplier, dtype=torch.float64) if bias else None,
            channels=channels,
            **fields,
        )

    @staticmethod
    def constant(name: str, count: int) -> Constant:
        """One value for each of `count` channels."""
        return Constant(name=name, inputs=(), value=torch.randn(count, dtype=torch.float64))

    @staticmethod
    def graph(*ops: Op, channels: int = 3, output: str | None = None) -> Graph:
        """Operators as a graph; the output is the last one's unless told."""
        return Graph("test", TensorSpec("input", channels), ops, output or ops[-1].name)


@pytest.fixture(scope="session")
def build() -> Build:
    return Build()


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """Two graphs compute the same in float64, borders included."""

    def check(before: Graph, after: Graph, sizes: Iterable[tuple[int, int]] = SIZES) -> None:
        for height, width in sizes:
            x = 2 * torch.rand(2, before.input.channels, height, width, dtype=torch.float64) - 0.5
            expected, actual = before.execute(x), after.execute(x)
            assert actual.shape == expected.shape
            assert (actual - expected).abs().max() <= ROUNDING * expected.abs().max(), f"at {height}x{width}"

    return check


@pytest.fixture(scope="session")
def applied(assert_same: Callable[..., None]) -> Callable[..., FoldResult]:
    """A fold's result where it applies, after checking that it is exact and idempotent."""

    def apply(fold: Fold, before: Graph, sizes: Iterable[tuple[int, int]] = SIZES) -> FoldResult:
        result = fold.apply(before)
        assert result.changed
        assert_same(before, result.graph, sizes)
        again = fold.apply(result.graph)
        assert again.changed == ()
        assert again.graph is result.graph
        return result

    return apply


@pytest.fixture(scope="session")
def refused() -> Callable[..., str]:
    """Why a fold leaves one operator alone, after checking that it does."""

    def refuse(fold: Fold, before: Graph, name: str) -> str:
        result = fold.apply(before)
        assert result.graph is before
        assert result.changed == ()
        return result.refused[name]

    return refuse


class Forward(nn.Module):
    """A network whose forward is a function of itself and the image; tensors become buffers."""

    def __init__(self, function: Callable[[Any, Tensor], Any], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, Tensor):
                self.register_buffer(name, part)
            else:
                self.add_module(name, part)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def contract(module: nn.Module, scale: int = 1, size_multiple: int = 1) -> SRModel:
    module = module.eval().requires_grad_(False)
    return SRModel("test", "test", module, {}, scale, "test", "", size_multiple=size_multiple)


@pytest.fixture(scope="session")
def network() -> Callable[..., SRModel]:
    """`network(lambda m, x: ..., part=nn.Conv2d(...))`: a model from its forward and its parts."""

    def make(function: Callable[[Any, Tensor], Any], scale: int = 1, size_multiple: int = 1, **parts: Any) -> SRModel:
        return contract(Forward(function, **parts), scale, size_multiple)

    return make


@pytest.fixture(scope="session")
def small_model() -> SRModel:
    """SPANV2 with 6 channels, 3 blocks and scale 2, its weights far from their start."""
    torch.manual_seed(0)
    module = SPANV2(channels=6, blocks=3, scale=2)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.3)
    return contract(module, scale=2)


@pytest.fixture(scope="session")
def small_spanv2(small_model: SRModel) -> Graph:
    return capture(small_model)


@pytest.fixture(scope="session")
def official_spanv2() -> Graph:
    if not OFFICIAL.exists():
        pytest.skip(f"the official checkpoint is not at {OFFICIAL}; set EDGESR_SHARED")
    return capture(load_model(weights=OFFICIAL))


@pytest.fixture(params=["small", "official"])
def spanv2(request: pytest.FixtureRequest) -> Graph:
    """The graph of SPANV2: few channels with random weights, and the whole network with the official ones."""
    graph: Graph = request.getfixturevalue(f"{request.param}_spanv2")
    return graph
