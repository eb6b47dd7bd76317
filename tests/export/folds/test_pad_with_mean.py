from collections.abc import Callable
from typing import Any

import pytest
import torch

from edgesr.export.folds.fold import FoldResult
from edgesr.export.folds.pad_with_mean import PadWithMean
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Mul, Op, Relu, Sub

FOLD = PadWithMean()
OPERANDS: dict[str, tuple[type[Op], tuple[str, str]]] = {
    "x - c": (Sub, ("input", "c")),
    "x + c": (Add, ("input", "c")),
    "c + x": (Add, ("c", "input")),
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("operands", OPERANDS)
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 0)])
def test_border_and_all_are_exact(
    padding: tuple[int, int], operands: str, count: int, build: Any, applied: Callable[..., FoldResult]
) -> None:
    kind, inputs = OPERANDS[operands]
    conv = build.conv("a", "x", 3, 4, padding=padding)
    before = build.graph(build.constant("c", count), kind(name="x", inputs=inputs), conv)
    result = applied(FOLD, before, sizes=((9, 11), (5, 5), (3, 4)))
    ones, folded = result.graph
    assert result.changed == ("x",)
    assert (ones.name, folded.name, folded.inputs) == ("x.with_ones", "a", ("x.with_ones",))


def test_every_reader_and_geometry(build: Any, applied: Callable[..., FoldResult]) -> None:
    before = build.graph(
        build.constant("c", 3),
        Sub(name="x", inputs=("input", "c")),
        build.conv("a", "x", 3, 4, stride=(2, 2), dilation=(2, 1), padding=(2, 1), activation=Activation.RELU),
        build.conv("b", "x", 3, 4, 5, stride=(2, 2), padding=(2, 2), bias=False),
        Add(name="y", inputs=("a", "b")),
    )
    after = applied(FOLD, before, sizes=((9, 11), (8, 8))).graph
    assert [op.name for op in after] == ["x.with_ones", "a", "b", "y"]


def test_the_channel_of_ones_is_one_and_the_image_is_kept(build: Any) -> None:
    before = build.graph(build.constant("c", 3), Sub(name="x", inputs=("input", "c")), build.conv("a", "x", 3, 4))
    x = torch.rand(1, 3, 4, 5, dtype=torch.float64)
    made = FOLD.apply(before).graph.trace(x)["x.with_ones"]
    assert torch.equal(made[:, :3], x) and torch.equal(made[:, 3:], torch.ones(1, 1, 4, 5, dtype=torch.float64))


REFUSED: dict[str, tuple[Callable[[Any], Graph], str]] = {
    "two tensors": (lambda b: b.graph(Add(name="x", inputs=("input", "input")), b.conv("a", "x", 3, 4)), "constant"),
    "inside the network": (
        lambda b: b.graph(b.conv("f", "input", 3, 3), b.constant("c", 3), Sub(name="x", inputs=("f", "c")),
                          b.conv("a", "x", 3, 4)), "image"),
    "constant minus image": (
        lambda b: b.graph(b.constant("c", 3), Sub(name="x", inputs=("c", "input")), b.conv("a", "x", 3, 4)),
        "subtracts"),
    "activation": (
        lambda b: b.graph(b.constant("c", 3), Sub(name="x", inputs=("input", "c"), activation=Activation.RELU),
                          b.conv("a", "x", 3, 4)), "activation relu"),
    "another reader": (
        lambda b: b.graph(b.constant("c", 3), Sub(name="x", inputs=("input", "c")), b.conv("a", "x", 3, 3),
                          Relu(name="r", inputs=("x",)), Mul(name="m", inputs=("a", "r"))), "'r', which is no dense"),
    "depthwise": (
        lambda b: b.graph(b.constant("c", 3), Sub(name="x", inputs=("input", "c")), b.depthwise("a", "x", 3)), "'a'"),
    "groups": (
        lambda b: b.graph(b.constant("c", 4), Sub(name="x", inputs=("input", "c")),
                          b.conv("a", "x", 4, 4, groups=2), channels=4), "'a'"),
    "output": (lambda b: b.graph(b.constant("c", 3), Sub(name="x", inputs=("input", "c"))), "output"),
    "one channel spread": (
        lambda b: b.graph(b.constant("c", 3), Sub(name="x", inputs=("input", "c")), b.conv("a", "x", 3, 4), channels=1),
        "spreads one channel over 3"),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_refused(why: str, build: Any) -> None:
    make, words = REFUSED[why]
    graph = make(build)
    result = FOLD.apply(graph)
    assert result.changed == () and result.graph is graph
    assert words in result.refused["x"]
