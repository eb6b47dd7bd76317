"""A small network with all that a student treats specially, its ranges, and patches to learn from."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Concat, DepthToSpace, Mul
from edgesr.quant.calibration import calibrate
from edgesr.quant.learning.patches import Mixture, Patches, make_patches
from edgesr.quant.learning.student import Parameters, Student
from edgesr.quant.photographs import labelled
from edgesr.quant.ranges import RangeRule, choose_ranges
from edgesr.quantized import QuantParams

Images = tuple[np.ndarray, ...]


@pytest.fixture
def net(build: Any) -> Graph:
    """A gated block, a concat and a x2 tail: ranges on both sides of zero and on one, tied and prescribed."""
    b = build
    graph: Graph = b.graph(
        b.conv("x", "input", 3, 6, activation=Activation.RELU),
        b.conv("f", "x", 6, 6),
        Add(name="s", inputs=("x", "f")),
        b.conv("g", "f", 6, 6, kernel=1),
        Mul(name="m", inputs=("s", "g")),
        Concat(name="c", inputs=("x", "m")),
        b.conv("h", "c", 12, 8, kernel=1, bias=False),
        b.conv("tail", "h", 8, 12),
        DepthToSpace(name="out", inputs=("tail",), block=2),
    )
    tail = graph.parameters()["tail", "weight"], graph.parameters()["tail", "bias"]
    tail[0].mul_(0.05)
    tail[1].fill_(0.5)  # an output well within the image's range
    return graph


@pytest.fixture
def ranges(net: Graph, photographs: Images) -> dict[str, QuantParams]:
    return choose_ranges(net, calibrate(net, photographs), RangeRule())


@pytest.fixture
def student(net: Graph, ranges: dict[str, QuantParams]) -> Student:
    return Student(net, ranges)


@pytest.fixture
def patches(net: Graph, photographs: Images) -> Patches:
    """Sixteen patches of 12x12."""
    return make_patches(net, labelled(photographs, 2), photographs, Mixture(16), np.random.default_rng(0), side=12)


@pytest.fixture(scope="session")
def moved() -> Callable[[Student], Parameters]:
    """Parameters at random, of every kind, not far from where a student starts."""

    def make(student: Student) -> Parameters:
        spread = dict(zip(student.start, (0.3, 0.2, 40.0, 2.0, 1.0), strict=True))
        one_sided = dict(enumerate(student.one_sided))
        return {
            kind: [
                p + spread[kind] * torch.randn(p.shape) * (not (kind.value == "zeros" and one_sided[i]))
                for i, p in enumerate(values)
            ]
            for kind, values in student.start.items()
        }

    return make


@pytest.fixture(scope="session")
def rounded_execution() -> Callable[..., Tensor]:
    """A graph's output in [0, 1] with every tensor on its grid, those of the image at both ends apart."""

    def execute(graph: Graph, activations: Mapping[str, QuantParams], x: Tensor) -> Tensor:
        ends = {graph.input.name, graph.output}
        producer = graph.producer(graph.output)
        ends |= set(producer.inputs) if isinstance(producer, DepthToSpace) else set()

        def rounded(name: str, y: Tensor) -> Tensor:
            return y if name in ends else activations[name].dequantize(activations[name].quantize(y))

        return graph.execute(x, rounded).clamp(0, 1)

    return execute
