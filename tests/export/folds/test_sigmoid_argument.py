from collections.abc import Callable
from typing import Any

import pytest

from edgesr.export.folds.fold import Exactness, FoldResult
from edgesr.export.folds.sigmoid_argument import SigmoidArgument
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Mul, Relu, Sigmoid, Tanh

FOLD = SigmoidArgument()


def silu(b: Any, **first: Any) -> Graph:
    """A convolution, x * sigmoid(x), a convolution."""
    return b.graph(
        b.conv("x", "input", 3, 4, **first),
        Sigmoid(name="s", inputs=("x",)),
        Mul(name="p", inputs=("x", "s")),
        b.conv("out", "p", 4, 3),
    )


@pytest.mark.parametrize("first", [{}, {"bias": False}, {"activation": Activation.RELU}, {"kernel": 1}], ids=str)
def test_the_sigmoid_reads_a_copy(first: dict[str, Any], build: Any, applied: Callable[..., FoldResult]) -> None:
    before = silu(build, **first)
    result = applied(FOLD, before)
    graph = result.graph
    copy, original = graph.producer("s.argument"), graph.producer("x")
    assert copy is not None and original is not None
    assert result.changed == ("s",)
    assert graph.sole_consumer("s.argument") is graph.producer("s")
    assert graph.sole_consumer("x") is graph.producer("p")
    assert graph.macs_per_input_pixel() - before.macs_per_input_pixel() == original.macs_per_position()
    assert FOLD.exactness is Exactness.EXACT


def test_both_functions_of_one_tensor_have_an_argument_of_their_own(
    build: Any, applied: Callable[..., FoldResult]
) -> None:
    b = build
    graph = b.graph(
        b.conv("x", "input", 3, 4), Sigmoid(name="s", inputs=("x",)), Tanh(name="t", inputs=("x",)),
        Mul(name="p", inputs=("s", "t")), b.conv("out", "p", 4, 3),
    )  # fmt: skip
    result = applied(FOLD, graph)
    assert result.changed == ("s",), "then `t` alone reads `x`"


def test_only_the_named_tensors(build: Any) -> None:
    result = SigmoidArgument(past=frozenset({"elsewhere"})).apply(silu(build))
    assert result.changed == ()
    assert "not among the tensors to read apart" in result.refused["s"]


REFUSED: dict[str, tuple[Callable[[Any], Graph], str]] = {
    "read by the sigmoid alone": (
        lambda b: b.graph(b.conv("x", "input", 3, 4), Sigmoid(name="s", inputs=("x",)), b.conv("out", "s", 4, 3)),
        "nothing else",
    ),
    "no convolution before": (
        lambda b: b.graph(
            b.conv("x", "input", 3, 4), Relu(name="r", inputs=("x",)), Sigmoid(name="s", inputs=("r",)),
            Add(name="p", inputs=("r", "s")), b.conv("out", "p", 4, 3),
        ),
        "'r' is no convolution",
    ),
    "the image": (
        lambda b: b.graph(Sigmoid(name="s", inputs=("input",)), Mul(name="p", inputs=("input", "s"))),
        "'input' is no convolution",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_refuses(case: str, build: Any) -> None:
    make, why = REFUSED[case]
    result = FOLD.apply(make(build))
    assert result.changed == ()
    assert why in result.refused["s"]
