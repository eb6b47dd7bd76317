"""A depthwise convolution of a join, taken apart."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from edgesr.export.folds.depthwise_before_concat import DepthwiseBeforeConcat
from edgesr.export.folds.fold import FoldResult
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Concat, DepthwiseConv2d, Relu
from edgesr.quantized import QuantizedGraph, QuantParams

FOLD = DepthwiseBeforeConcat()


def joined(build: Any, multiplier: int = 1, **fields: Any) -> Graph:
    """Parts of 5 and 2 channels, and the first once more."""
    graph: Graph = build.graph(
        build.conv("a", "input", 3, 5),
        build.conv("b", "input", 3, 2),
        Concat(name="c", inputs=("a", "b", "a")),
        build.depthwise("d", "c", 12, multiplier, **fields),
    )
    return graph


@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_exact(multiplier: int, bias: bool, build: Any, applied: Callable[..., FoldResult]) -> None:
    before = joined(build, multiplier, bias=bias, activation=Activation.RELU)
    result = applied(FOLD, before)
    assert result.changed == ("d",) and result.graph.output == "d"
    parts = [op for op in result.graph if isinstance(op, DepthwiseConv2d)]
    assert [(op.inputs, op.channels) for op in parts] == [(("a",), 5), (("b",), 2), (("a",), 5)]
    assert isinstance(result.graph.producer("d"), Concat) and result.graph.producer("c") is None
    assert result.graph.macs_per_input_pixel() == before.macs_per_input_pixel()


def test_strides_and_unpadded_borders(build: Any, applied: Callable[..., FoldResult]) -> None:
    applied(FOLD, joined(build, padding=(0, 0)), sizes=((7, 5), (3, 4)))
    applied(FOLD, joined(build, stride=(2, 2)), sizes=((8, 6), (4, 2)))


def test_spanv2(spanv2: Graph, applied: Callable[..., FoldResult]) -> None:
    assert applied(FOLD, spanv2).changed == ("depthwise_conv",)


def test_the_integers_stay(build: Any, quantize_by_range: Callable[..., QuantizedGraph]) -> None:
    """Where the parts keep the join's grid: each channel meets the same weights, scales and rounding."""
    image = torch.rand(1, 3, 6, 7, dtype=torch.float64)
    before = joined(build)
    network = quantize_by_range(before, [image])
    grids: dict[str, QuantParams] = {
        name: network.activations["c" if name in ("a", "b") else "d" if name.startswith("d") else name]
        for name in FOLD.apply(before).graph.specs
    }
    after = quantize_by_range(FOLD.apply(before).graph, [image], fixed=grids)
    weights = {name: w.values for name, w in after.weights.items() if name.startswith("d.")}
    assert torch.equal(torch.cat([weights[f"d.part_{i}"] for i in range(3)]), network.weights["d"].values)
    assert torch.equal(after.execute(image), network.execute(image))


REFUSED: dict[str, tuple[Callable[[Any], Graph], str]] = {
    "no join": (lambda b: b.graph(b.conv("c", "input", 3, 9), b.depthwise("d", "c", 9)), "its input 'c' is no Concat"),
    "the image": (lambda b: b.graph(b.depthwise("d", "input", 3)), "its input 'input' is no Concat"),
    "read twice": (
        lambda b: b.graph(
            b.conv("a", "input", 3, 6),
            Concat(name="c", inputs=("a", "a")),
            b.depthwise("d", "c", 12),
            Relu(name="r", inputs=("c",)),
            Add(name="s", inputs=("d", "r")),
        ),
        "'c' is read more than once",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, build: Any, refused: Callable[..., str]) -> None:
    make, reason = REFUSED[case]
    assert reason in refused(FOLD, make(build), "d")
