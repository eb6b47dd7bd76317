from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from edgesr.export.folds import compose_convs
from edgesr.export.folds.compose_convs import ComposeConvs, growth_of
from edgesr.export.folds.densify_grouped_conv import dense_weight
from edgesr.export.folds.fold import Exactness, FoldResult
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Conv2d, Convolution, DepthToSpace, Relu

ALWAYS = ComposeConvs(max_growth=float("inf"))
LARGE = ((9, 11), (7, 8))  # for kernels that pad nothing

PAIRS: dict[str, Callable[[Any], Graph]] = {
    "1x1 after 3x3": lambda b: b.graph(b.conv("a", "input", 3, 5), b.conv("z", "a", 5, 4, kernel=1)),
    "1x1 after 3x3, one bias": lambda b: b.graph(
        b.conv("a", "input", 3, 5), b.conv("z", "a", 5, 4, kernel=1, bias=False)
    ),
    "1x1 after 3x3, the other bias": lambda b: b.graph(
        b.conv("a", "input", 3, 5, bias=False), b.conv("z", "a", 5, 4, kernel=1)
    ),
    "1x1 after depthwise": lambda b: b.graph(b.depthwise("a", "input", 3, 2), b.conv("z", "a", 6, 4, kernel=1)),
    "1x1 after groups": lambda b: b.graph(b.conv("a", "input", 3, 6, groups=3), b.conv("z", "a", 6, 4, kernel=1)),
    "1x1 in groups after 3x3": lambda b: b.graph(
        b.conv("a", "input", 3, 6), b.conv("z", "a", 6, 4, kernel=1, groups=2)
    ),
    "1x1 after 1x1": lambda b: b.graph(b.conv("a", "input", 3, 5, kernel=1), b.conv("z", "a", 5, 4, kernel=1)),
    "1x1 after odd geometry, activated": lambda b: b.graph(
        b.conv("a", "input", 3, 5, stride=(2, 2), padding=(3, 2), dilation=(1, 2)),
        b.conv("z", "a", 5, 4, kernel=1, activation=Activation.RELU6),
    ),
    "3x3 after 1x1 without bias": lambda b: b.graph(
        b.conv("a", "input", 3, 5, kernel=1, bias=False),
        b.conv("z", "a", 5, 4, stride=(2, 2), dilation=(2, 2), padding=(2, 2)),
    ),
    "depthwise after 1x1 without bias": lambda b: b.graph(
        b.conv("a", "input", 3, 5, kernel=1, bias=False), b.depthwise("z", "a", 5, 2)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PAIRS)
def test_pairs_are_composed_exactly(case: str, build: Any, applied: Callable[..., FoldResult]) -> None:
    before = PAIRS[case](build)
    (op,) = applied(ALWAYS, before).graph
    assert isinstance(op, Conv2d)
    assert (op.name, op.inputs, op.group_count) == ("z", ("input",), 1)


def test_a_bias_before_an_unpadded_convolution(build: Any, applied: Callable[..., FoldResult]) -> None:
    pair = build.conv("a", "input", 3, 5, kernel=1), build.conv("z", "a", 5, 4, padding=(0, 0))
    assert len(applied(ALWAYS, build.graph(*pair), sizes=LARGE).graph.ops) == 1


def test_a_chain_becomes_one(build: Any, applied: Callable[..., FoldResult]) -> None:
    chain = [build.conv(f"c{i}", f"c{i - 1}" if i else "input", 3, 3, kernel=1 if i else 3) for i in range(4)]
    result = applied(ALWAYS, build.graph(*chain))
    assert [op.name for op in result.graph] == ["c3"]


def test_spanv2_head(spanv2: Graph, applied: Callable[..., FoldResult]) -> None:
    result = applied(ALWAYS, spanv2)
    assert result.changed == ("pointwise_conv",)
    assert result.graph.producer("depthwise_conv") is None
    assert ALWAYS.exactness is Exactness.EXACT


def test_spanv2_stays_where_multiplications_may_not_grow(spanv2: Graph, refused: Callable[..., str]) -> None:
    assert "multiplications would grow" in refused(ComposeConvs(), spanv2, "pointwise_conv")


def test_only_the_pairs_asked_for(build: Any) -> None:
    chain = [build.conv(f"c{i}", f"c{i - 1}" if i else "input", 3, 3, kernel=1 if i else 3) for i in range(3)]
    result = ComposeConvs(past=frozenset({"c0"})).apply(build.graph(*chain))
    assert result.changed == ("c1",)
    assert "'c1' is not among the tensors to read past" in result.refused["c2"]


@pytest.mark.parametrize("stride", [1, 2])
def test_growth_counts_the_positions_of_each_output(stride: int, build: Any) -> None:
    """Before: 3*8 at every position, and 8*4*9 at one in stride^2; after: 3*4*9 at one in stride^2."""
    pair = build.conv("a", "input", 3, 8, kernel=1, bias=False), build.conv("z", "a", 8, 4, stride=(stride, stride))
    before = build.graph(*pair)
    after = ALWAYS.apply(before).graph
    expected = after.macs_per_input_pixel() / before.macs_per_input_pixel()
    assert growth_of(before, *pair) == pytest.approx(float(expected), rel=1e-15)


def test_growth_at_the_limit(build: Any) -> None:
    pair = build.conv("a", "input", 3, 4), build.conv("z", "a", 4, 7, kernel=1)  # 189 after, 108 + 28 before
    before = build.graph(*pair)
    assert ComposeConvs(max_growth=189 / 136).apply(before).changed == ("z",)
    assert ComposeConvs(max_growth=188 / 136).apply(before).changed == ()


POINT = {"kernel": 1}
REFUSED: dict[str, tuple[Callable[[Any], Graph], str]] = {
    "no pair": (lambda b: b.graph(b.conv("z", "input", 3, 4)), "'input' is no convolution"),
    "between": (
        lambda b: b.graph(b.conv("a", "input", 3, 4), Relu(name="r", inputs=("a",)), b.conv("z", "r", 4, 4, **POINT)),
        "'r' is no convolution",
    ),
    "activated": (
        lambda b: b.graph(b.conv("a", "input", 3, 4, activation=Activation.RELU), b.conv("z", "a", 4, 4, **POINT)),
        "the activation of 'a' lies between",
    ),
    "read elsewhere": (
        lambda b: b.graph(
            b.conv("a", "input", 3, 4), b.conv("z", "a", 4, 4, **POINT), Add(name="s", inputs=("a", "z"))
        ),
        "'a' is read elsewhere too",
    ),
    "the output": (
        lambda b: b.graph(b.conv("a", "input", 3, 4), b.conv("z", "a", 4, 4, **POINT), output="a"),
        "'a' is read elsewhere too",
    ),
    "neither 1x1": (
        lambda b: b.graph(b.conv("a", "input", 3, 4), b.conv("z", "a", 4, 4)),
        "neither 'a' nor 'z' is a 1x1 convolution",
    ),
    "strided 1x1": (
        lambda b: b.graph(b.conv("a", "input", 3, 4), b.conv("z", "a", 4, 4, kernel=1, stride=(2, 2))),
        "neither 'a' nor 'z' is a 1x1 convolution",
    ),
    "padded 1x1": (
        lambda b: b.graph(b.conv("a", "input", 3, 4), b.conv("z", "a", 4, 4, kernel=1, padding=(1, 1))),
        "neither 'a' nor 'z' is a 1x1 convolution",
    ),
    "bias meets padding": (
        lambda b: b.graph(b.conv("a", "input", 3, 4, kernel=1), b.conv("z", "a", 4, 4)),
        "the bias of 'a' meets the zero padding of 'z'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, build: Any, refused: Callable[..., str]) -> None:
    make, reason = REFUSED[case]
    assert reason in refused(ALWAYS, make(build), "z")


def test_refuses_to_grow_beyond_its_limit(build: Any, refused: Callable[..., str]) -> None:
    before = build.graph(build.depthwise("a", "input", 3), build.conv("z", "a", 3, 8, kernel=1))
    assert "multiplications would grow 4.24 times, more than 2" in refused(ComposeConvs(max_growth=2), before, "z")


def test_considers_convolutions_alone(build: Any) -> None:
    assert ALWAYS.considers(build.depthwise("a", "input", 3))
    assert not ALWAYS.considers(DepthToSpace(name="d", inputs=("a",), block=2))


def without_padding_check(graph: Graph, op: Convolution) -> str | None:
    return None if isinstance(graph.producer(op.inputs[0]), Convolution) else "no pair"


def test_the_bias_at_the_border_is_a_real_difference(
    monkeypatch: pytest.MonkeyPatch, build: Any, assert_same: Callable[..., None]
) -> None:
    """The refusal 'bias meets padding' keeps something out that the comparison sees."""
    make, _ = REFUSED["bias meets padding"]
    before = make(build)
    monkeypatch.setattr(ALWAYS, "refuses", without_padding_check)
    with pytest.raises(AssertionError):
        assert_same(before, ALWAYS.apply(before).graph)


@pytest.mark.parametrize("case", ["1x1 after 3x3", "3x3 after 1x1 without bias"])
def test_a_swapped_channel_would_be_caught(
    case: str, monkeypatch: pytest.MonkeyPatch, build: Any, assert_same: Callable[..., None]
) -> None:
    def swapped(op: Convolution) -> Tensor:
        weight = dense_weight(op)
        return weight[[1, 0, *range(2, len(weight))]] if op.name == "z" else weight

    before = PAIRS[case](build)
    monkeypatch.setattr(compose_convs, "dense_weight", swapped)
    with pytest.raises(AssertionError):
        assert_same(before, ALWAYS.apply(before).graph)
