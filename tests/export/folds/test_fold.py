"""What all folds share: the drive to a fixpoint, and that any of them in any order leave a network's function alone."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from edgesr.export.folds.compose_convs import ComposeConvs
from edgesr.export.folds.densify_grouped_conv import DensifyGroupedConv
from edgesr.export.folds.fold import Exactness, Fold
from edgesr.export.folds.fuse_activation import FuseActivation
from edgesr.export.folds.fuse_affine import FuseAffine
from edgesr.export.folds.fuse_input_range import FuseInputRange
from edgesr.export.folds.gate_form import GateForm
from edgesr.export.folds.pad_with_mean import PadWithMean
from edgesr.export.folds.pixel_shuffle_to_depth_to_space import PixelShuffleToDepthToSpace
from edgesr.export.folds.sigmoid_argument import SigmoidArgument
from edgesr.export.folds.split_concat import SplitConcat
from edgesr.graph import Graph
from edgesr.ops import Add, Concat, DepthToSpace, LeakyRelu, Mul, Op, Relu, Relu6, ShuffleOrder, Sigmoid, Sub

EXACT_FOLDS: tuple[Fold, ...] = (
    FuseActivation(),
    DensifyGroupedConv(),
    FuseInputRange(),
    FuseAffine(),
    ComposeConvs(),
    ComposeConvs(max_growth=float("inf")),
    GateForm(),
    PadWithMean(),
    PixelShuffleToDepthToSpace(),
    SigmoidArgument(),
    SplitConcat(),
)
CHANNELS = 4


def random_graph(b: Any, seed: int, length: int = 12) -> Graph:
    """Operators drawn at random, each reading tensors of 4 channels drawn at random, then the tail of a x2 network."""
    draw = random.Random(seed)
    ops: list[Op] = []
    tensors = ["input"]
    while len(tensors) <= length:
        name, recent = f"t{len(tensors)}", tensors[-3:]
        x, y = draw.choice(recent), draw.choice(recent)
        made = draw.choice(KINDS)(b, name, x, y)
        ops += made
        tensors.append(made[-1].name)
    last = Add(name="last", inputs=(tensors[-1], tensors[-2]))
    tail = DepthToSpace(name="out", inputs=(draw.choice(["last", tensors[-1]]),), block=2)
    return b.graph(*ops, last, tail, channels=CHANNELS).pruned()


KINDS: tuple[Callable[[Any, str, str, str], list[Op]], ...] = (
    lambda b, n, x, y: [b.conv(n, x, 4, 4)],
    lambda b, n, x, y: [b.conv(n, x, 4, 4, bias=False)],
    lambda b, n, x, y: [b.conv(n, x, 4, 4, kernel=1)],
    lambda b, n, x, y: [b.conv(n, x, 4, 4, kernel=1, bias=False)],
    lambda b, n, x, y: [b.conv(n, x, 4, 4, groups=2)],
    lambda b, n, x, y: [b.depthwise(n, x, 4)],
    lambda b, n, x, y: [b.depthwise(f"{n}.wide", x, 4, 2), b.conv(n, f"{n}.wide", 8, 4, kernel=1)],
    lambda b, n, x, y: [b.conv(f"{n}.gate", x, 4, 4, kernel=1), Mul(name=n, inputs=(y, f"{n}.gate"))],
    lambda b, n, x, y: [Concat(name=f"{n}.both", inputs=(x, y)), b.conv(n, f"{n}.both", 8, 4)],
    lambda b, n, x, y: [
        b.conv(f"{n}.bare", x, 4, 4, kernel=1),
        Concat(name=f"{n}.join", inputs=(y, f"{n}.bare")),
        b.conv(n, f"{n}.join", 8, 4, kernel=1),
    ],
    lambda b, n, x, y: [b.constant(f"{n}.c", 4), Mul(name=n, inputs=(x, f"{n}.c"))],
    lambda b, n, x, y: [b.constant(f"{n}.c", 1), Sub(name=n, inputs=(x, f"{n}.c"))],
    lambda b, n, x, y: [Add(name=n, inputs=(x, y))],
    lambda b, n, x, y: [Sub(name=n, inputs=(x, y))],
    lambda b, n, x, y: [Relu(name=n, inputs=(x,))],
    lambda b, n, x, y: [Relu6(name=n, inputs=(x,))],
    lambda b, n, x, y: [LeakyRelu(name=n, inputs=(x,), slope=0.1)],
    lambda b, n, x, y: [Sigmoid(name=n, inputs=(x,))],
    lambda b, n, x, y: [
        b.conv(f"{n}.x", x, 4, 4),
        Sigmoid(name=f"{n}.s", inputs=(f"{n}.x",)),
        Mul(name=n, inputs=(f"{n}.x", f"{n}.s")),
    ],
)


@pytest.mark.parametrize("seed", range(40))
def test_all_folds_in_any_order_keep_a_random_graph(seed: int, build: Any, assert_same: Callable[..., None]) -> None:
    before = after = random_graph(build, seed)
    folds = list(EXACT_FOLDS)
    random.Random(seed).shuffle(folds)
    for fold in folds:
        assert fold.exactness is Exactness.EXACT
        result = fold.apply(after)
        assert fold.apply(result.graph).graph is result.graph
        after = result.graph
    assert_same(before, after, sizes=((5, 3), (1, 1)))


def test_the_random_graphs_give_every_fold_something_to_do(build: Any) -> None:
    idle = {fold.name for fold in EXACT_FOLDS}
    for seed in range(40):
        before = random_graph(build, seed)
        idle -= {fold.name for fold in EXACT_FOLDS if fold.apply(before).changed}
    assert not idle


def test_all_folds_on_spanv2(spanv2: Graph, assert_same: Callable[..., None]) -> None:
    after = spanv2
    for fold in EXACT_FOLDS:
        after = fold.apply(after).graph
    assert_same(spanv2, after)
    assert not any(isinstance(op, (Relu, Relu6)) for op in after)
    assert [op.order for op in after if isinstance(op, DepthToSpace)] == [ShuffleOrder.DCR]
    assert len(after.ops) < len(spanv2.ops)


def test_apply_reports_what_it_did_and_what_it_refused(build: Any) -> None:
    relu, sigmoid, second = (
        Relu(name="r", inputs=("a",)),
        Sigmoid(name="s", inputs=("a",)),
        Relu(name="z", inputs=("s",)),
    )
    result = FuseActivation().apply(build.graph(build.conv("a", "input", 3, 4), sigmoid, second))
    assert result.changed == ()
    assert result.refused == {"z": "'s' is no convolution or elementwise operator"}
    result = FuseActivation().apply(build.graph(build.conv("a", "input", 3, 4), relu))
    assert (result.changed, result.refused) == (("r",), {})


class RepeatsItself(FuseActivation):
    """Leaves what it takes as it was, so that there is always something left to do."""

    def rewrite(self, graph: Graph, op: Op) -> Graph:
        return graph


def test_a_fold_that_never_ends_is_stopped(build: Any) -> None:
    endless = build.graph(build.conv("a", "input", 3, 4), Relu(name="r", inputs=("a",)))
    with pytest.raises(RuntimeError, match=r"fold 'fuse-activation' does not end on graph .*, last at 'r'"):
        RepeatsItself().apply(endless)


def test_a_fold_changes_no_weight_in_place(build: Any) -> None:
    before = random_graph(build, 3)
    copies = {key: value.clone() for key, value in before.parameters().items()}
    for fold in EXACT_FOLDS:
        fold.apply(before)
    assert all(torch.equal(copies[key], value) for key, value in before.parameters().items())


def test_names_are_distinct_verb_phrases() -> None:
    names = [fold.name for fold in EXACT_FOLDS]
    assert len(set(names)) == len({type(fold) for fold in EXACT_FOLDS})
