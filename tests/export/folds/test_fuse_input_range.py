from collections.abc import Callable
from typing import Any

import pytest
import torch

from edgesr.architecture import SRModel
from edgesr.export.capture import capture
from edgesr.export.folds import fuse_input_range
from edgesr.export.folds.fold import Exactness, FoldResult
from edgesr.export.folds.fuse_input_range import FuseInputRange, per_row
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Constant, Convolution, Mul, Relu, Sigmoid, Sub

FOLD = FuseInputRange()
LARGE = ((9, 11), (7, 8), (5, 5))  # for kernels that pad nothing

READERS: dict[str, Callable[[Any, int], Convolution]] = {
    "dense": lambda b, pad: b.conv("a", "x", 6, 4, padding=(pad, pad)),
    "no bias": lambda b, pad: b.conv("a", "x", 6, 4, padding=(pad, pad), bias=False),
    "groups": lambda b, pad: b.conv("a", "x", 6, 8, groups=2, padding=(pad, pad)),
    "depthwise": lambda b, pad: b.depthwise("a", "x", 6, padding=(pad, pad)),
    "two filters per channel": lambda b, pad: b.depthwise("a", "x", 6, 2, padding=(pad, pad)),
    "strided and activated": lambda b, pad: b.conv(
        "a", "x", 6, 4, padding=(pad, pad), stride=(2, 2), dilation=(2, 1), activation=Activation.RELU
    ),
}
OPERANDS = {
    "x * c": (Mul, ("input", "c"), 1),
    "c * x": (Mul, ("c", "input"), 1),
    "x + c": (Add, ("input", "c"), 0),
    "c + x": (Add, ("c", "input"), 0),
    "x - c": (Sub, ("input", "c"), 0),
}


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("operands", OPERANDS)
@pytest.mark.parametrize("reader", READERS)
def test_into_a_convolution(
    reader: str, operands: str, count: int, build: Any, applied: Callable[..., FoldResult]
) -> None:
    kind, inputs, padding = OPERANDS[operands]
    conv = READERS[reader](build, padding)
    before = build.graph(build.constant("c", count), kind(name="x", inputs=inputs), conv, channels=6)
    (after,) = applied(FOLD, before, sizes=LARGE).graph
    assert (after.name, after.inputs, type(after)) == ("a", ("input",), type(conv))


def test_scaling_holds_at_the_border(build: Any, applied: Callable[..., FoldResult]) -> None:
    """At the default sizes, 1x1 among them, where every tap but one sees padding."""
    applied(FOLD, build.graph(build.constant("c", 3), Mul(name="x", inputs=("input", "c")), build.conv("a", "x", 3, 4)))


def test_mean_and_deviation(build: Any, applied: Callable[..., FoldResult]) -> None:
    """(x - mean) * (1/std) before a convolution that pads nothing: both go."""
    before = build.graph(
        build.constant("mean", 3),
        Sub(name="centred", inputs=("input", "mean")),
        build.constant("rate", 3),
        Mul(name="x", inputs=("centred", "rate")),
        build.conv("a", "x", 3, 4, padding=(0, 0)),
    )
    result = applied(FOLD, before, sizes=LARGE)
    assert result.changed == ("x", "centred")
    assert [op.name for op in result.graph] == ["a"]


def test_every_convolution_that_reads_it(build: Any, applied: Callable[..., FoldResult]) -> None:
    before = build.graph(
        build.constant("c", 3),
        Mul(name="x", inputs=("input", "c")),
        build.conv("a", "x", 3, 4),
        build.depthwise("b", "x", 3),
        build.conv("z", "b", 3, 4),
        Add(name="sum", inputs=("a", "z")),
    )
    after = applied(FOLD, before).graph
    assert [op.inputs for op in after] == [("input",), ("input",), ("b",), ("a", "z")]


def test_the_constant_stays_for_its_other_readers(build: Any, applied: Callable[..., FoldResult]) -> None:
    before = build.graph(
        build.constant("c", 3),
        Mul(name="x", inputs=("input", "c")),
        build.conv("a", "x", 3, 3),
        Add(name="sum", inputs=("a", "c")),
    )
    assert [op.name for op in applied(FOLD, before).graph] == ["c", "a", "sum"]


@pytest.mark.parametrize("which", ["small", "official"])
def test_spanv2_on_images_up_to_255(
    which: str, request: pytest.FixtureRequest, applied: Callable[..., FoldResult]
) -> None:
    """Its two first convolutions both read x * (1/255)."""
    spanv2: Graph = request.getfixturevalue(f"{which}_spanv2")
    rate = Constant(name="rate", inputs=(), value=torch.tensor([1 / 255], dtype=torch.float64))
    scaled = Mul(name="scaled", inputs=("input", "rate"))
    ops = tuple(op.with_inputs({"input": "scaled"}) for op in spanv2)
    before = Graph("x255", spanv2.input, (rate, scaled, *ops), spanv2.output)
    result = applied(FOLD, before)
    assert result.changed == ("scaled",)
    assert [op.name for op in result.graph] == [op.name for op in spanv2]


def test_a_captured_network(network: Callable[..., SRModel], applied: Callable[..., FoldResult]) -> None:
    """(x / 255 - mean) before padding: the mean stays, and so does what stands before it."""
    mean, first = torch.rand(1, 3, 1, 1), torch.nn.Conv2d(3, 4, 3, padding=1)
    scaled = capture(network(lambda m, x: m.first(x / 255), first=first))
    assert [op.name for op in applied(FOLD, scaled).graph] == ["first"]
    shifted = capture(network(lambda m, x: m.first(x / 255 - m.mean), first=first, mean=mean))
    assert FOLD.apply(shifted).changed == ()


MUL, ADD, SUB = (kind(name="x", inputs=("input", "c")) for kind in (Mul, Add, Sub))
REFUSED: dict[str, tuple[Callable[[Any], Graph], str]] = {
    "no constant": (
        lambda b: b.graph(Mul(name="x", inputs=("input", "input")), b.conv("a", "x", 3, 4)),
        "neither operand is a constant",
    ),
    "constant minus image": (
        lambda b: b.graph(b.constant("c", 3), Sub(name="x", inputs=("c", "input")), b.conv("a", "x", 3, 4, kernel=1)),
        "it subtracts from the constant 'c'",
    ),
    "activated": (
        lambda b: b.graph(
            b.constant("c", 3), Mul(name="x", inputs=("input", "c"), activation=Activation.RELU), b.conv("a", "x", 3, 4)
        ),
        "its activation relu lies between",
    ),
    "one channel to many": (
        lambda b: b.graph(b.constant("c", 3), MUL, b.conv("a", "x", 3, 4), channels=1),
        "it spreads one channel over 3",
    ),
    "the output": (lambda b: b.graph(b.constant("c", 3), MUL), "its result is the graph's output"),
    "the output and a convolution": (
        lambda b: b.graph(b.constant("c", 3), MUL, b.conv("a", "x", 3, 4), output="x"),
        "its result is the graph's output",
    ),
    "no convolution after": (
        lambda b: b.graph(b.constant("c", 3), MUL, Sigmoid(name="s", inputs=("x",))),
        "its result is read by 's', which is no convolution",
    ),
    "others read it too": (
        lambda b: b.graph(
            b.constant("c", 3), MUL, b.conv("a", "x", 3, 3), Relu(name="r", inputs=("x",)),
            Add(name="s", inputs=("a", "r")),
        ),
        "its result is read by 'r', which is no convolution",
    ),
    "a sum meets padding": (
        lambda b: b.graph(b.constant("c", 3), ADD, b.conv("a", "x", 3, 4)),
        "the zero padding of 'a' would be shifted too",
    ),
    "a difference meets padding on one axis": (
        lambda b: b.graph(b.constant("c", 3), SUB, b.conv("a", "x", 3, 4, kernel=1, padding=(0, 1))),
        "the zero padding of 'a' would be shifted too",
    ),
    "one of two readers pads": (
        lambda b: b.graph(
            b.constant("c", 3), ADD, b.conv("a", "x", 3, 4, kernel=1), b.conv("z", "x", 3, 4),
            Add(name="s", inputs=("a", "z")),
        ),
        "the zero padding of 'z' would be shifted too",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, build: Any, refused: Callable[..., str]) -> None:
    make, reason = REFUSED[case]
    assert reason in refused(FOLD, make(build), "x")


def test_considers_products_sums_and_differences(build: Any) -> None:
    assert all(FOLD.considers(op) for op in (MUL, ADD, SUB))
    assert not FOLD.considers(build.conv("a", "input", 3, 4))
    assert not FOLD.considers(Sigmoid(name="s", inputs=("x",)))
    assert FOLD.exactness is Exactness.EXACT


def test_the_shifted_padding_is_a_real_difference(
    monkeypatch: pytest.MonkeyPatch, build: Any, assert_same: Callable[..., None]
) -> None:
    """The refusal keeps something out that the comparison sees."""
    before = build.graph(build.constant("c", 3), ADD, build.conv("a", "x", 3, 4))
    monkeypatch.setattr(fuse_input_range, "refused_reader", lambda graph, op: None)
    with pytest.raises(AssertionError):
        assert_same(before, FOLD.apply(before).graph)


@pytest.mark.parametrize("kind", [Mul, Sub])
@pytest.mark.parametrize("reader", ["dense", "depthwise"])
def test_swapped_channels_would_be_caught(
    reader: str, kind: type, monkeypatch: pytest.MonkeyPatch, build: Any, assert_same: Callable[..., None]
) -> None:
    constant, arithmetic = build.constant("c", 6), kind(name="x", inputs=("input", "c"))
    before = build.graph(constant, arithmetic, READERS[reader](build, 0), channels=6)
    monkeypatch.setattr(fuse_input_range, "per_row", lambda conv, values: per_row(conv, values.flip(0)))
    with pytest.raises(AssertionError):
        assert_same(before, FOLD.apply(before).graph, sizes=LARGE)
