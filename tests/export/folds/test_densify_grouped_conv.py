from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from edgesr.export.folds import densify_grouped_conv
from edgesr.export.folds.densify_grouped_conv import MAX_CHANNELS, DensifyGroupedConv, dense_weight
from edgesr.export.folds.fold import Exactness, FoldResult
from edgesr.graph import Graph
from edgesr.ops import Activation, Conv2d, Convolution, DepthwiseConv2d

FOLD = DensifyGroupedConv()

MAKERS: dict[str, Callable[[Any], Convolution]] = {
    "two groups": lambda b: b.conv("g", "input", 6, 8, groups=2),
    "three groups without bias": lambda b: b.conv("g", "input", 6, 3, groups=3, bias=False),
    "two filters per channel": lambda b: b.depthwise("g", "input", 6, 2),
    "with everything": lambda b: b.conv(
        "g",
        "input",
        6,
        4,
        kernel=5,
        groups=2,
        stride=(2, 2),
        padding=(4, 3),
        dilation=(2, 1),
        activation=Activation.RELU,
    ),
}


@pytest.mark.parametrize("case", MAKERS)
def test_the_dense_form_is_exact(case: str, build: Any, applied: Callable[..., FoldResult]) -> None:
    op = MAKERS[case](build)
    (dense,) = applied(FOLD, build.graph(op, channels=6)).graph
    assert isinstance(dense, Conv2d)
    assert (dense.name, dense.groups, dense.weight.shape[1]) == ("g", 1, 6)
    assert (dense.weight != 0).sum() == op.weight.numel()


def test_several_filters_of_one_channel_are_dense_already(build: Any, applied: Callable[..., FoldResult]) -> None:
    """A depthwise convolution of one channel has one group, and is still refused by NPUs as depthwise x 4."""
    (dense,) = applied(FOLD, build.graph(build.depthwise("g", "input", 1, 4), channels=1)).graph
    assert isinstance(dense, Conv2d)


def test_spanv2_near_branch(spanv2: Graph, applied: Callable[..., FoldResult]) -> None:
    result = applied(FOLD, spanv2)
    near = result.graph.producer("conv_near")
    assert result.changed == ("conv_near",)
    assert isinstance(near, Conv2d) and near.group_count == 1
    assert isinstance(result.graph.producer("depthwise_conv"), DepthwiseConv2d)
    assert FOLD.exactness is Exactness.EXACT


REFUSED: dict[str, tuple[Callable[[Any], Graph], str]] = {
    "native": (lambda b: b.graph(b.depthwise("g", "input", 3)), "one filter per channel is native"),
    "native, one channel": (lambda b: b.graph(b.depthwise("g", "input", 1), channels=1), "one filter per channel"),
    "too wide": (
        lambda b: b.graph(b.conv("g", "input", MAX_CHANNELS + 2, 6, groups=2), channels=MAX_CHANNELS + 2),
        f"{MAX_CHANNELS + 2} input channels, the dense form would hold 2 times the weights",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, build: Any, refused: Callable[..., str]) -> None:
    make, reason = REFUSED[case]
    assert reason in refused(FOLD, make(build), "g")


def test_the_widest_is_folded(build: Any) -> None:
    wide = build.graph(build.conv("g", "input", MAX_CHANNELS, 2, groups=2), channels=MAX_CHANNELS)
    assert FOLD.apply(wide).changed == ("g",)


def test_leaves_dense_convolutions_alone(build: Any) -> None:
    assert not FOLD.considers(build.conv("a", "input", 3, 4))


def test_swapped_groups_would_be_caught(
    monkeypatch: pytest.MonkeyPatch, build: Any, assert_same: Callable[..., None]
) -> None:
    def swapped(op: Convolution) -> Tensor:
        return dense_weight(op).roll(1, dims=1)

    before = build.graph(build.conv("g", "input", 6, 8, groups=2), channels=6)
    monkeypatch.setattr(densify_grouped_conv, "dense_weight", swapped)
    with pytest.raises(AssertionError):
        assert_same(before, FOLD.apply(before).graph)
