"""Seeded random graphs of every operator that moves or mixes positions, with strides, for the proofs of tiles."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from edgesr.graph import Graph
from edgesr.ops import (
    Add,
    Concat,
    Constant,
    Conv2d,
    DepthToSpace,
    DepthwiseConv2d,
    LeakyRelu,
    MaxPool,
    Mul,
    Op,
    ResizeNearest,
    TensorSpec,
)

CHANNELS = 4
STEPS = 7
LARGEST_MULTIPLE = 12


class GraphMaker:
    """Appends random operators; weights are positive, so that nothing cancels and every path shows in a gradient."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.ops: list[Op] = [LeakyRelu(name="t0", inputs=("x",), slope=0.3)]

    def make(self) -> Graph:
        """A graph whose output is a whole number of times as large as its input."""
        steps = (self.convolve, self.convolve, self.filter_each, self.enlarge, self.pool, self.join)
        for _ in range(STEPS):
            steps[self.random.integers(len(steps))]()
        last = self.ops[-1].name
        self.ops.append(ResizeNearest(name="y", inputs=(last,), factor=self.scale(last).denominator))
        return self.graph

    @property
    def graph(self) -> Graph:
        return Graph("random", TensorSpec("x", CHANNELS), tuple(self.ops), self.ops[-1].name).pruned()

    def scale(self, name: str) -> Fraction:
        scale = self.every.specs[name].scale
        assert scale is not None
        return scale

    @property
    def every(self) -> Graph:
        return Graph("random", TensorSpec("x", CHANNELS), tuple(self.ops), self.ops[-1].name)

    def channels(self, name: str) -> int:
        return self.every.specs[name].channels

    def name(self) -> str:
        return f"t{len(self.ops)}"

    def weight(self, *shape: int) -> Tensor:
        weight = torch.rand(*shape, generator=self.generator, dtype=torch.float64) + 0.2
        return weight / max(1, weight[0].numel())

    def geometry(self, stride: int) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
        """Kernel, and stride, dilation and padding of which n positions give n / stride, for both axes."""
        axes: list[tuple[int, int, int]] = []
        while len(axes) < 2:
            kernel, dilation = int(self.random.integers(1, 6)), int(self.random.integers(1, 3))
            extent = dilation * (kernel - 1) + 1
            paddings = [p for p in range(extent) if 0 < extent - 2 * p <= stride]
            if paddings:
                axes.append((kernel, dilation, int(self.random.choice(paddings))))
        kernels, dilations, paddings_of = zip(*axes, strict=True)
        return kernels, {"dilation": dilations, "padding": paddings_of, "stride": (stride, stride)}

    def smaller(self, name: str, by: int) -> bool:
        """Whether a tensor may get so many times smaller."""
        return (self.scale(name) / by).denominator * self.every.size_multiple <= LARGEST_MULTIPLE

    def convolve(self) -> None:
        name = self.ops[-1].name
        strides = [1, *(t for t in (2, 3) if self.smaller(name, t))]
        kernel, fields = self.geometry(int(self.random.choice(strides)))
        weight = self.weight(CHANNELS, self.channels(name), *kernel)
        self.ops.append(Conv2d(name=self.name(), inputs=(name,), weight=weight, **fields))
        self.ops.append(LeakyRelu(name=self.name(), inputs=(self.ops[-1].name,), slope=0.3))

    def filter_each(self) -> None:
        name = self.ops[-1].name
        kernel, fields = self.geometry(1)
        weight = self.weight(self.channels(name), 1, *kernel)
        self.ops.append(
            DepthwiseConv2d(
                name=self.name(), inputs=(name,), weight=weight, channels=self.channels(name), **fields
            )
        )  # fmt: skip

    def enlarge(self) -> None:
        name = self.ops[-1].name
        if self.scale(name) >= 2:
            return
        if self.channels(name) % 4 == 0 and self.random.random() < 0.5:
            self.ops.append(DepthToSpace(name=self.name(), inputs=(name,), block=2))
        else:
            self.ops.append(ResizeNearest(name=self.name(), inputs=(name,), factor=int(self.random.integers(2, 4))))

    def pool(self) -> None:
        name = self.ops[-1].name
        if self.smaller(name, 2):
            self.ops.append(MaxPool(name=self.name(), inputs=(name,), window=2))

    def join(self) -> None:
        """The last tensor with another of its size, or with a constant."""
        last = self.ops[-1].name
        others = [name for name, spec in self.every.specs.items() if spec.scale == self.scale(last) and name != last]
        if not others:
            self.ops.append(Constant(name=self.name(), inputs=(), value=self.weight(1)))
            self.ops.append(Mul(name=self.name(), inputs=(last, self.ops[-1].name)))
            return
        other = others[int(self.random.integers(len(others)))]
        kinds: tuple[type[Op], ...] = (Add, Mul, Concat) if self.channels(other) == self.channels(last) else (Concat,)
        self.ops.append(kinds[int(self.random.integers(len(kinds)))](name=self.name(), inputs=(last, other)))


@pytest.fixture(scope="session")
def random_graph() -> Callable[[int], Graph]:
    """The graph of a seed."""
    return lambda seed: GraphMaker(seed).make()
