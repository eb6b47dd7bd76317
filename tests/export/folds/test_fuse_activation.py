from collections.abc import Callable
from typing import Any

import pytest

from edgesr.export.folds import fuse_activation
from edgesr.export.folds.fold import Exactness, FoldResult
from edgesr.export.folds.fuse_activation import FuseActivation
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, DepthToSpace, Mul, Op, Relu, Relu6, Sigmoid, Sub

FOLD = FuseActivation()
KINDS = {Relu: Activation.RELU, Relu6: Activation.RELU6}


@pytest.mark.parametrize("kind", KINDS)
def test_into_convolutions(kind: type[Op], build: Any, applied: Callable[..., FoldResult]) -> None:
    first, last = kind(name="r", inputs=("a",)), kind(name="z", inputs=("b",))
    result = applied(FOLD, build.graph(build.conv("a", "input", 3, 4), first, build.depthwise("b", "r", 4), last))
    assert result.changed == ("r", "z")
    assert [(op.name, op.activation) for op in result.graph] == [("a", KINDS[kind]), ("b", KINDS[kind])]
    assert result.graph.output == "b"


@pytest.mark.parametrize("kind", [Add, Sub, Mul])
def test_into_elementwise_arithmetic(kind: type[Op], build: Any, applied: Callable[..., FoldResult]) -> None:
    both = kind(name="both", inputs=("a", "input"))
    result = applied(FOLD, build.graph(build.conv("a", "input", 3, 3), both, Relu6(name="r", inputs=("both",))))
    assert [op.name for op in result.graph] == ["a", "both"]


def test_the_second_of_two_stays(build: Any, applied: Callable[..., FoldResult]) -> None:
    relus = Relu(name="r", inputs=("a",)), Relu6(name="s", inputs=("r",))
    result = applied(FOLD, build.graph(build.conv("a", "input", 3, 4), *relus))
    assert [op.name for op in result.graph] == ["a", "s"]
    assert "'a' already has the activation relu" in result.refused["s"]


def test_spanv2_keeps_no_standalone_relu(spanv2: Graph, applied: Callable[..., FoldResult]) -> None:
    result = applied(FOLD, spanv2)
    assert len(result.changed) == sum(isinstance(op, Relu) for op in spanv2)
    assert not any(isinstance(op, Relu) for op in result.graph)
    assert FOLD.exactness is Exactness.EXACT


RELU = Relu(name="r", inputs=("a",))
REFUSED: dict[str, tuple[Callable[[Any], Graph], str]] = {
    "the image": (lambda b: b.graph(Relu(name="r", inputs=("input",))), "'input' is no convolution"),
    "another function": (
        lambda b: b.graph(Sigmoid(name="a", inputs=("input",)), RELU),
        "'a' is no convolution or elementwise operator",
    ),
    "a second activation": (
        lambda b: b.graph(b.conv("a", "input", 3, 4, activation=Activation.RELU6), RELU),
        "'a' already has the activation relu6",
    ),
    "another reader": (
        lambda b: b.graph(b.conv("a", "input", 3, 4), RELU, Add(name="sum", inputs=("a", "r"))),
        "'a' is read before its activation too",
    ),
    "the output": (
        lambda b: b.graph(b.conv("a", "input", 3, 4), RELU, output="a"),
        "'a' is read before its activation too",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, build: Any, refused: Callable[..., str]) -> None:
    make, reason = REFUSED[case]
    assert reason in refused(FOLD, make(build), "r")


def test_considers_nothing_else(build: Any) -> None:
    others = [Sigmoid(name="s", inputs=("a",)), DepthToSpace(name="d", inputs=("s",), block=2)]
    assert not any(FOLD.considers(op) for op in (build.conv("a", "input", 3, 4), *others))


def test_a_wrong_activation_would_be_caught(
    monkeypatch: pytest.MonkeyPatch, build: Any, assert_same: Callable[..., None]
) -> None:
    before = build.graph(build.conv("b", "input", 3, 32), build.conv("a", "b", 32, 4), RELU)
    monkeypatch.setitem(fuse_activation.FUSED, Relu, Activation.RELU6)
    with pytest.raises(AssertionError):
        assert_same(before, FOLD.apply(before).graph)
