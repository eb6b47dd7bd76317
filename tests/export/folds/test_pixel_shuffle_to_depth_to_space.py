from collections.abc import Callable
from typing import Any

import pytest
import torch

from edgesr.export.folds import pixel_shuffle_to_depth_to_space
from edgesr.export.folds.fold import Exactness, FoldResult
from edgesr.export.folds.pixel_shuffle_to_depth_to_space import PixelShuffleToDepthToSpace, native_order
from edgesr.graph import Graph
from edgesr.ops import (
    Activation,
    Add,
    Clip,
    Concat,
    Conv2d,
    DepthToSpace,
    LeakyRelu,
    Mul,
    Op,
    ResizeNearest,
    ShuffleOrder,
    Sigmoid,
    Sub,
)

FOLD = PixelShuffleToDepthToSpace()


def shuffle(source: str, block: int = 2, order: ShuffleOrder = ShuffleOrder.CRD) -> DepthToSpace:
    return DepthToSpace(name="d", inputs=(source,), block=block, order=order)


ABSORBED: dict[str, Callable[[Any], Graph]] = {
    "convolution": lambda b: b.graph(b.conv("a", "input", 3, 12), shuffle("a")),
    "block 3, no bias": lambda b: b.graph(b.conv("a", "input", 3, 18, bias=False), shuffle("a", 3)),
    "activated convolution": lambda b: b.graph(
        b.conv("a", "input", 3, 12, activation=Activation.RELU), shuffle("a")
    ),
    "one group of one channel": lambda b: b.graph(b.depthwise("a", "input", 1, 12), shuffle("a"), channels=1),
    "functions": lambda b: b.graph(
        b.conv("a", "input", 3, 12), Sigmoid(name="s", inputs=("a",)), LeakyRelu(name="l", inputs=("s",), slope=0.2),
        Clip(name="c", inputs=("l",), low=0, high=0.6), shuffle("c"),
    ),
    "a sum of two": lambda b: b.graph(
        b.conv("a", "input", 3, 12), b.conv("z", "input", 3, 12), Sub(name="s", inputs=("a", "z")), shuffle("s")
    ),
    "a square": lambda b: b.graph(b.conv("a", "input", 3, 12), Mul(name="s", inputs=("a", "a")), shuffle("s")),
    "a constant per channel": lambda b: b.graph(
        b.conv("a", "input", 3, 12), b.constant("k", 12), Mul(name="s", inputs=("k", "a")), shuffle("s")
    ),
    "one constant": lambda b: b.graph(
        b.conv("a", "input", 3, 12), b.constant("k", 1), Add(name="s", inputs=("a", "k")), shuffle("s")
    ),
    "one channel spread over all": lambda b: b.graph(
        b.conv("a", "input", 3, 12), b.conv("z", "input", 3, 1), Add(name="s", inputs=("z", "a")), shuffle("s")
    ),
    "more after it": lambda b: b.graph(
        b.conv("a", "input", 3, 12), shuffle("a"), ResizeNearest(name="r", inputs=("input",), factor=2),
        Add(name="s", inputs=("d", "r")),
    ),
}  # fmt: skip

NOT_ABSORBED: dict[str, Callable[[Any], Graph]] = {
    "the image": lambda b: b.graph(shuffle("input"), channels=12),
    "concat": lambda b: b.graph(
        b.conv("a", "input", 3, 9), Concat(name="c", inputs=("a", "input")), shuffle("c")
    ),
    "groups": lambda b: b.graph(b.conv("a", "input", 4, 12, groups=2), shuffle("a"), channels=4),
    "depthwise": lambda b: b.graph(b.depthwise("a", "input", 3, 4), shuffle("a")),
    "another reader": lambda b: b.graph(
        b.conv("a", "input", 3, 12), shuffle("a"), b.conv("z", "a", 12, 3),
        ResizeNearest(name="r", inputs=("z",), factor=2), Add(name="s", inputs=("d", "r")),
    ),
    "a diamond": lambda b: b.graph(
        b.conv("a", "input", 3, 12), Sigmoid(name="g", inputs=("a",)), Mul(name="s", inputs=("a", "g")), shuffle("s")
    ),
    "half of a sum": lambda b: b.graph(
        b.conv("a", "input", 12, 12), Add(name="s", inputs=("a", "input")), shuffle("s"), channels=12
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ABSORBED)
def test_the_permutation_is_absorbed(case: str, build: Any, applied: Callable[..., FoldResult]) -> None:
    before = ABSORBED[case](build)
    after = applied(FOLD, before).graph
    assert [(op.name, type(op)) for op in after] == [(op.name, type(op)) for op in before]
    assert native(after) == ["d"]


@pytest.mark.parametrize("case", NOT_ABSORBED)
def test_elsewhere_a_1x1_convolution_permutes(case: str, build: Any, applied: Callable[..., FoldResult]) -> None:
    before = NOT_ABSORBED[case](build)
    after = applied(FOLD, before).graph
    assert len(after.ops) == len(before.ops) + 1
    order = after.producer("d.order")
    assert isinstance(order, Conv2d) and order.kernel == (1, 1)
    assert native(after) == ["d"]


def test_two_shuffles(build: Any, applied: Callable[..., FoldResult]) -> None:
    second = DepthToSpace(name="e", inputs=("z",), block=3)
    before = build.graph(build.conv("a", "input", 3, 12), shuffle("a"), build.conv("z", "d", 3, 27), second)
    assert native(applied(FOLD, before).graph) == ["d", "e"]


def test_spanv2(spanv2: Graph, applied: Callable[..., FoldResult]) -> None:
    result = applied(FOLD, spanv2)
    assert result.changed == ("pixel_shuffle",)
    assert len(result.graph.ops) == len(spanv2.ops)
    assert FOLD.exactness is Exactness.EXACT


def native(graph: Graph) -> list[str]:
    return [op.name for op in graph if isinstance(op, DepthToSpace) and op.order is ShuffleOrder.DCR]


@pytest.mark.parametrize(("channels", "block"), [(12, 2), (27, 3), (48, 4), (5, 1)])
def test_native_order_is_the_formula(channels: int, block: int) -> None:
    order, colours = native_order(channels, block), channels // block**2
    for c in range(colours):
        for i in range(block):
            for j in range(block):
                assert order[(i * block + j) * colours + c] == c * block**2 + i * block + j


def test_refuses_what_is_native_already(build: Any, refused: Callable[..., str]) -> None:
    before = build.graph(build.conv("a", "input", 3, 12), shuffle("a", order=ShuffleOrder.DCR))
    assert "already in the order of DEPTH_TO_SPACE" in refused(FOLD, before, "d")


def test_considers_nothing_else() -> None:
    others: list[Op] = [Sigmoid(name="s", inputs=("a",)), ResizeNearest(name="r", inputs=("a",), factor=2)]
    assert not any(FOLD.considers(op) for op in others)


def test_the_inverse_order_would_be_caught(
    monkeypatch: pytest.MonkeyPatch, build: Any, assert_same: Callable[..., None]
) -> None:
    before = ABSORBED["convolution"](build)
    monkeypatch.setattr(pixel_shuffle_to_depth_to_space, "native_order", lambda c, r: native_order(c, r).argsort())
    with pytest.raises(AssertionError):
        assert_same(before, FOLD.apply(before).graph)


def test_a_forgotten_bias_would_be_caught(
    monkeypatch: pytest.MonkeyPatch, build: Any, assert_same: Callable[..., None]
) -> None:
    def rows(op: Conv2d, permutation: torch.Tensor) -> Op:
        return op.with_parameters({"weight": op.weight[permutation]})

    before = ABSORBED["convolution"](build)
    monkeypatch.setattr(pixel_shuffle_to_depth_to_space, "permuted_rows", rows)
    with pytest.raises(AssertionError):
        assert_same(before, FOLD.apply(before).graph)
