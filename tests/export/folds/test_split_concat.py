from collections.abc import Callable
from typing import Any

import pytest

from edgesr.export.folds.fold import Exactness, FoldResult
from edgesr.export.folds.split_concat import SplitConcat
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Concat, Conv2d, Op, Relu

FOLD = SplitConcat()


def tail(b: Any, near: Op | None = None, **mix: Any) -> Graph:
    """SPANF's tail: a near-pixel branch joined with features, a 1x1 convolution, a 3x3 convolution."""
    return b.graph(
        near or b.conv("near", "input", 3, 12),
        b.conv("a", "input", 3, 5, activation=Activation.RELU),
        b.conv("f", "a", 5, 4, activation=Activation.RELU),
        Concat(name="cat", inputs=("f", "near", "a")),
        b.conv("mix", "cat", 21, 4, kernel=1, **mix),
        b.conv("out", "mix", 4, 3),
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("near_bias", [False, True])
@pytest.mark.parametrize("activation", [Activation.NONE, Activation.RELU])
def test_the_branch_is_swallowed(
    bias: bool, near_bias: bool, activation: Activation, build: Any, applied: Callable[..., FoldResult]
) -> None:
    before = tail(build, build.conv("near", "input", 3, 12, bias=near_bias), bias=bias, activation=activation)
    graph = applied(FOLD, before).graph
    assert graph.producer("near") is None
    swallowed, rest, total = (graph.producer(name) for name in ("mix.of.near", "cat.rest", "mix"))
    assert isinstance(swallowed, Conv2d) and (swallowed.inputs, swallowed.kernel) == (("input",), (3, 3))
    assert isinstance(rest, Concat) and rest.inputs == ("f", "a")
    assert isinstance(total, Add) and total.activation is activation
    assert graph.macs_per_input_pixel() < before.macs_per_input_pixel()
    assert FOLD.exactness is Exactness.EXACT


def test_what_is_left_alone_needs_no_join(build: Any, applied: Callable[..., FoldResult]) -> None:
    b = build
    graph = applied(FOLD, b.graph(
        b.conv("near", "input", 3, 12), b.conv("f", "input", 3, 5, activation=Activation.RELU),
        Concat(name="cat", inputs=("near", "f")), b.conv("out", "cat", 17, 4, kernel=1),
    )).graph  # fmt: skip
    assert [type(op).__name__ for op in graph] == ["Conv2d", "Conv2d", "Conv2d", "Add"]


@pytest.mark.parametrize("bias", [False, True])
def test_every_part_may_go(bias: bool, build: Any, applied: Callable[..., FoldResult]) -> None:
    b = build
    graph = applied(FOLD, b.graph(
        *(b.conv(name, "input", 3, 12) for name in "xyz"), Concat(name="cat", inputs=("x", "y", "z")),
        b.conv("out", "cat", 36, 4, kernel=1, bias=bias),
    )).graph  # fmt: skip
    assert [op.name for op in graph] == ["out.of.x", "out.of.y", "out.of.z", "out.sum_1", "out"]


def test_a_named_join_is_taken_apart_whole(build: Any, applied: Callable[..., FoldResult]) -> None:
    graph = applied(SplitConcat(frozenset({"cat"})), tail(build)).graph
    assert not any(isinstance(op, Concat) for op in graph)
    readers = {op.name: op.inputs for op in graph if op.name.startswith("mix.of")}
    assert readers == {"mix.of.f": ("f",), "mix.of.near": ("input",), "mix.of.a": ("a",)}


def test_a_named_join_of_one_tensor_twice_is_refused(build: Any, refused: Callable[..., str]) -> None:
    make, why = REFUSED["joined twice"]
    assert why in refused(SplitConcat(frozenset({"cat"})), make(build), "mix")


REFUSED: dict[str, tuple[Callable[[Any], Graph], str]] = {
    "no join": (
        lambda b: b.graph(b.conv("a", "input", 3, 4), b.conv("mix", "a", 4, 3, kernel=1)), "'a' is no Concat"
    ),
    "a join read elsewhere": (
        lambda b: b.graph(
            b.conv("a", "input", 3, 9), b.conv("f", "input", 3, 9), Concat(name="cat", inputs=("a", "f")),
            b.conv("mix", "cat", 18, 3, kernel=1), b.conv("other", "cat", 18, 3),
            Add(name="s", inputs=("mix", "other")),
        ),
        "'cat' is read elsewhere too",
    ),
    "groups": (
        lambda b: b.graph(
            b.conv("a", "input", 3, 9), b.conv("f", "input", 3, 9), Concat(name="cat", inputs=("a", "f")),
            b.conv("mix", "cat", 18, 2, kernel=1, groups=2),
        ),
        "in groups",
    ),
    "an activation between": (
        lambda b: tail(b, b.conv("near", "input", 3, 12, activation=Activation.RELU)), "no part of the join"
    ),
    "no convolution": (
        lambda b: b.graph(
            b.conv("a", "input", 3, 9), Relu(name="r", inputs=("a",)), Concat(name="cat", inputs=("r", "a")),
            b.conv("mix", "cat", 18, 3, kernel=1),
        ),
        "no part of the join",
    ),
    "joined twice": (
        lambda b: b.graph(
            b.conv("a", "input", 3, 9), Concat(name="cat", inputs=("a", "a")), b.conv("mix", "cat", 18, 3, kernel=1)
        ),
        "no part of the join",
    ),
    "more multiplications": (
        lambda b: b.graph(
            b.conv("a", "input", 3, 3), b.conv("f", "input", 3, 3), Concat(name="cat", inputs=("a", "f")),
            b.conv("mix", "cat", 6, 8, kernel=1),
        ),
        "costs no more",
    ),
    "a join of one": (
        lambda b: b.graph(
            b.conv("a", "input", 3, 9), Concat(name="cat", inputs=("a",)), b.conv("mix", "cat", 9, 3, kernel=1)
        ),
        "no part of the join",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_refuses(case: str, build: Any, refused: Callable[..., str]) -> None:
    make, why = REFUSED[case]
    assert why in refused(FOLD, make(build), "mix")
