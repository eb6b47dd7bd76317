from collections.abc import Callable
from typing import Any

import pytest
import torch

from edgesr.architecture import SRModel
from edgesr.export.capture import capture
from edgesr.export.folds import fuse_affine
from edgesr.export.folds.fold import Exactness, FoldResult
from edgesr.export.folds.fuse_affine import FuseAffine
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Convolution, Mul, Relu, Sub

FOLD = FuseAffine()
SOURCES: dict[str, Callable[[Any], Convolution]] = {
    "dense": lambda b: b.conv("a", "input", 6, 4),
    "no bias": lambda b: b.conv("a", "input", 6, 4, bias=False),
    "groups": lambda b: b.conv("a", "input", 6, 4, groups=2),
    "depthwise": lambda b: b.depthwise("a", "input", 6),
    "two filters per channel, no bias": lambda b: b.depthwise("a", "input", 6, 2, bias=False),
    "strided, dilated": lambda b: b.conv("a", "input", 6, 4, stride=(2, 2), dilation=(2, 1)),
}
OPERANDS = {
    "a * c": (Mul, ("a", "c")),
    "c * a": (Mul, ("c", "a")),
    "a + c": (Add, ("a", "c")),
    "c + a": (Add, ("c", "a")),
    "a - c": (Sub, ("a", "c")),
}


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("operands", OPERANDS)
@pytest.mark.parametrize("source", SOURCES)
def test_into_a_convolution(
    source: str, operands: str, single: bool, build: Any, applied: Callable[..., FoldResult]
) -> None:
    """Border included: at the default sizes, 1x1 among them, padding is everywhere."""
    kind, inputs = OPERANDS[operands]
    conv = SOURCES[source](build)
    count = 1 if single else conv.weight.shape[0]
    operator = kind(name="y", inputs=inputs, activation=Activation.RELU6)
    before = build.graph(conv, build.constant("c", count), operator, channels=6)
    sizes = ((9, 11), (7, 5)) if conv.stride != (1, 1) else ((7, 5), (1, 1), (1, 6), (2, 9))
    (after,) = applied(FOLD, before, sizes=sizes).graph
    assert (after.name, after.inputs, type(after), after.activation) == ("y", ("input",), type(conv), Activation.RELU6)


def test_batch_norm_behind_a_convolution_vanishes(
    network: Callable[..., SRModel], applied: Callable[..., FoldResult]
) -> None:
    norm = torch.nn.BatchNorm2d(4)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        torch.nn.init.uniform_(tensor, 0.3, 2)
    conv = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False)
    before = capture(network(lambda m, x: torch.relu(m.n(m.c(x))), c=conv, n=norm))
    result = applied(FOLD, before)
    assert result.changed == ("n._native_batch_norm_legit_no_training.scale", "n._native_batch_norm_legit_no_training")
    assert [type(op).__name__ for op in result.graph] == ["Conv2d", "Relu"]


def test_the_parameters_of_the_graph_before_stay(build: Any) -> None:
    conv = build.conv("a", "input", 3, 4, bias=False)
    constant = build.constant("c", 4)
    before = build.graph(conv, constant, Add(name="y", inputs=("a", "c")))
    weight, value = conv.weight.clone(), constant.value.clone()
    (after,) = FOLD.apply(before).graph
    assert isinstance(after, Convolution) and after.bias is not None
    after.bias.add_(1)
    assert torch.equal(conv.weight, weight) and torch.equal(constant.value, value)


REFUSED: dict[str, tuple[Callable[[Any], Graph], str]] = {
    "no constant": (
        lambda b: b.graph(b.conv("a", "input", 3, 3), Mul(name="y", inputs=("a", "input"))),
        "neither operand is a constant",
    ),
    "constant minus image": (
        lambda b: b.graph(b.conv("a", "input", 3, 3), b.constant("c", 3), Sub(name="y", inputs=("c", "a"))),
        "it subtracts from the constant 'c'",
    ),
    "no convolution": (
        lambda b: b.graph(Relu(name="a", inputs=("input",)), b.constant("c", 3), Mul(name="y", inputs=("a", "c"))),
        "'a' is no convolution",
    ),
    "the image": (lambda b: b.graph(b.constant("c", 3), Mul(name="y", inputs=("input", "c"))), "'input' is no conv"),
    "an activation": (
        lambda b: b.graph(
            b.conv("a", "input", 3, 3, activation=Activation.RELU), b.constant("c", 3), Mul(name="y", inputs=("a", "c"))
        ),
        "the activation of 'a' lies between",
    ),
    "another reader": (
        lambda b: b.graph(
            b.conv("a", "input", 3, 3), b.constant("c", 3), Mul(name="y", inputs=("a", "c")),
            Add(name="sum", inputs=("y", "a")),
        ),
        "'a' is read elsewhere too",
    ),
    "one channel to many": (
        lambda b: b.graph(b.conv("a", "input", 3, 1), b.constant("c", 3), Mul(name="y", inputs=("a", "c"))),
        "it spreads one channel over 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str, build: Any, refused: Callable[..., str]) -> None:
    make, message = REFUSED[case]
    assert message in refused(FOLD, make(build), "y")


def test_a_shift_for_a_scale_is_caught(
    build: Any, applied: Callable[..., FoldResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuse_affine, "scaled", fuse_affine.shifted)
    before = build.graph(build.conv("a", "input", 3, 3), build.constant("c", 3), Mul(name="y", inputs=("a", "c")))
    with pytest.raises(AssertionError):
        applied(FOLD, before)


def test_is_exact() -> None:
    assert FOLD.exactness is Exactness.EXACT
