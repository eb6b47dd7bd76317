import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from edgesr.export.folds import sign_split
from edgesr.export.folds.compose_convs import ComposeConvs
from edgesr.export.folds.fold import Exactness, FoldResult
from edgesr.export.folds.sign_split import SignSplit
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Concat, Conv2d, Mul, Op, Relu
from edgesr.quantized import QuantParams

FOLD = SignSplit()
RELU = Activation.RELU


def gated(b: Any, *readers: Op, gate: Op | None = None, **product: Any) -> Graph:
    """A product `p` of features `s` (5 channels) and a gate `g`, and what reads it."""
    features = b.conv("s", "input", 3, 5)
    made = gate or b.conv("g", "s", 5, 5, kernel=1)
    graph: Graph = b.graph(features, made, Mul(**{"name": "p", "inputs": ("s", made.name)} | product), *readers)
    return graph


def joined(b: Any, *inputs: str, channels: int) -> tuple[Op, Op]:
    """A concat and the convolution that reads it."""
    return Concat(name="c", inputs=inputs), b.conv("out", "c", channels, 3)


SPLIT: dict[str, Callable[[Any], Graph]] = {
    "read by a convolution": lambda b: gated(b, b.conv("out", "p", 5, 3)),
    "without padding": lambda b: gated(b, b.conv("out", "p", 5, 3, kernel=1)),
    "strided and activated": lambda b: gated(b, b.conv("out", "p", 5, 3, stride=(2, 2), activation=RELU)),
    "dilated, without bias": lambda b: gated(b, b.conv("out", "p", 5, 3, bias=False, dilation=(2, 2), padding=(2, 2))),
    "the gate on the left": lambda b: gated(b, b.conv("out", "p", 5, 3), inputs=("g", "s")),
    "a gate without bias": lambda b: gated(b, b.conv("out", "p", 5, 3), gate=b.conv("g", "s", 5, 5, bias=False)),
    "a depthwise gate": lambda b: gated(b, b.conv("out", "p", 5, 3), gate=b.depthwise("g", "s", 5)),
    "a gate of one channel": lambda b: gated(b, b.conv("out", "p", 5, 3), gate=b.conv("g", "s", 5, 1)),
    "first of a concat": lambda b: gated(b, *joined(b, "p", "s", channels=10)),
    "in the middle of a concat": lambda b: gated(b, *joined(b, "input", "p", "s", channels=13)),
    "a concat that joins another twice": lambda b: gated(b, *joined(b, "s", "p", "s", channels=15)),
    "a concat read twice": lambda b: gated(
        b, Concat(name="c", inputs=("s", "p")), b.conv("y", "c", 10, 3), b.conv("z", "c", 10, 3, kernel=1),
        Add(name="out", inputs=("y", "z")),
    ),
    "two concats and two convolutions": lambda b: gated(
        b, Concat(name="c", inputs=("s", "p")), b.conv("y", "c", 10, 3), Concat(name="d", inputs=("p", "input")),
        b.conv("z", "d", 8, 3), b.conv("v", "p", 5, 3, kernel=1), b.conv("w", "p", 5, 3, bias=False),
        Add(name="yz", inputs=("y", "z")), Add(name="vw", inputs=("v", "w")), Add(name="out", inputs=("yz", "vw")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SPLIT)
def test_the_function_stays(case: str, build: Any, applied: Callable[..., FoldResult]) -> None:
    result = applied(FOLD, SPLIT[case](build))
    assert result.changed == ("p",)
    assert FOLD.exactness is Exactness.EXACT
    parts = [result.graph.producer(name) for name in ("p", "p.negative")]
    assert all(isinstance(part, Mul) and part.activation is RELU for part in parts)


def test_both_parts_matter_and_never_at_one_place(build: Any) -> None:
    graph = FOLD.apply(SPLIT["read by a convolution"](build)).graph
    values = graph.trace(torch.rand(2, 3, 7, 5, dtype=torch.float64))
    plus, minus = values["p"], values["p.negative"]
    assert (plus > 0).any() and (minus > 0).any() and not (plus * minus).any()
    assert torch.equal(plus - minus, values["s"] * values["g"])


def test_two_products_in_one_concat(build: Any, applied: Callable[..., FoldResult]) -> None:
    graph = build.graph(
        *gated(build, build.conv("t", "s", 5, 4), build.conv("h", "s", 5, 4)).ops, Mul(name="q", inputs=("t", "h")),
        Concat(name="c", inputs=("q", "s", "p")), build.conv("out", "c", 14, 3),
    )  # fmt: skip
    result = applied(FOLD, graph)
    assert result.changed == ("p", "q")
    joined_now = result.graph.producer("c")
    assert joined_now is not None and joined_now.inputs == ("q", "s", "p", "p.negative", "q.negative")


def test_one_product_alone(build: Any, applied: Callable[..., FoldResult]) -> None:
    graph = build.graph(
        *gated(build, build.conv("t", "p", 5, 4), build.conv("h", "p", 5, 4)).ops, Mul(name="q", inputs=("t", "h")),
        build.conv("out", "q", 4, 3),
    )  # fmt: skip
    result = applied(SignSplit(past=frozenset({"q"})), graph)
    assert result.changed == ("q",)
    assert result.refused["p"] == "'p' is not among the products to split"


def test_spanv2_splits_the_product_that_the_head_reads(spanv2: Graph, applied: Callable[..., FoldResult]) -> None:
    """Once its depthwise convolution is composed away: the products before are added to features."""
    composed = ComposeConvs(math.inf).apply(spanv2).graph
    products = [op.name for op in composed if isinstance(op, Mul)]
    result = applied(FOLD, composed)
    assert result.changed == (products[-1],)
    assert [name for name in products[:-1] if "reads it and is no convolution" in result.refused[name]] == products[:-1]


REFUSED: dict[str, tuple[Callable[[Any], Graph], str]] = {
    "activated": (lambda b: gated(b, b.conv("out", "p", 5, 3), activation=RELU), "it has an activation"),
    "the output": (lambda b: gated(b), "it is the output"),
    "a square": (lambda b: gated(b, b.conv("out", "p", 5, 3), inputs=("g", "g")), "bare convolution"),
    "no convolution's": (
        lambda b: b.graph(
            b.conv("a", "input", 3, 5), b.conv("e", "input", 3, 5), Relu(name="s", inputs=("a",)),
            Relu(name="g", inputs=("e",)), Mul(name="p", inputs=("s", "g")), b.conv("out", "p", 5, 3),
        ),
        "neither factor is a bare convolution's that only this product reads",
    ),
    "gates with activations": (
        lambda b: gated(b, b.conv("out", "p", 5, 3), gate=b.conv("g", "s", 5, 5, activation=RELU)), "bare convolution"
    ),
    "a gate that others read": (
        lambda b: gated(
            b, b.conv("y", "p", 5, 3), b.conv("z", "g", 5, 3), Add(name="out", inputs=("y", "z"))
        ), "bare convolution",
    ),
    "added": (lambda b: gated(b, Add(name="a", inputs=("p", "s")), b.conv("out", "a", 5, 3)), "'a' reads it and is no"),
    "one reader of two": (
        lambda b: gated(b, b.conv("y", "p", 5, 5), Add(name="out", inputs=("y", "p"))), "'out' reads it and is no",
    ),
    "in groups": (lambda b: gated(b, b.conv("out", "p", 5, 5, groups=5)), "'out' reads it in groups"),
    "channel by channel": (lambda b: gated(b, b.depthwise("out", "p", 5)), "'out' reads it in groups"),
    "joined in groups": (
        lambda b: gated(b, Concat(name="c", inputs=("p", "s")), b.conv("out", "c", 10, 4, groups=2)),
        "'out' reads it in groups",
    ),
    "joined twice": (lambda b: gated(b, *joined(b, "p", "s", "p", channels=15)), "'c' joins it twice"),
    "joined to the output": (lambda b: gated(b, Concat(name="c", inputs=("p", "s"))), "'c' joins it twice, or is the"),
    "joined and no convolution": (
        lambda b: gated(
            b, Concat(name="c", inputs=("p", "s")), Relu(name="r", inputs=("c",)), b.conv("out", "r", 10, 3)
        ),
        "'r' reads it and is no convolution",
    ),
    "joined again": (
        lambda b: gated(
            b, Concat(name="c", inputs=("p", "s")), Concat(name="d", inputs=("c", "s")), b.conv("out", "d", 15, 3)
        ), "'d' reads it and is no convolution",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, build: Any, refused: Callable[..., str]) -> None:
    make, reason = REFUSED[case]
    assert reason in refused(FOLD, make(build), "p")


def test_considers_products_alone(build: Any) -> None:
    assert [op.name for op in SPLIT["first of a concat"](build) if FOLD.considers(op)] == ["p"]


def unturned(bias: Tensor | None) -> Tensor | None:
    return bias


def unsigned(op: Conv2d, start: int, channels: int) -> Conv2d:
    return replace(op, weight=torch.cat([op.weight, op.weight[:, start : start + channels]], 1))


def from_the_next_channel(op: Conv2d, start: int, channels: int) -> Conv2d:
    return replace(op, weight=torch.cat([op.weight, -op.weight[:, start + 1 : start + 1 + channels]], 1))


@pytest.mark.parametrize(
    ("part", "wrong"), [("_negative", unturned), ("_widened", unsigned), ("_widened", from_the_next_channel)]
)
def test_a_wrong_sign_or_channel_would_be_caught(
    part: str, wrong: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, build: Any, assert_same: Callable[..., None]
) -> None:
    before = SPLIT["first of a concat"](build)
    assert_same(before, FOLD.apply(before).graph)
    monkeypatch.setattr(sign_split, part, wrong)
    with pytest.raises(AssertionError):
        assert_same(before, FOLD.apply(before).graph)


@pytest.mark.parametrize("case", ["read by a convolution", "in the middle of a concat"])
def test_rounding_the_parts_to_8_bits_does_a_quarter_of_the_harm(case: str, build: Any) -> None:
    """Steps half as wide give errors of a quarter of the energy: 6.02 dB, for values as far below zero as above."""
    before = SPLIT[case](build)
    after = FOLD.apply(before).graph
    x = torch.rand(1, 3, 40, 40, dtype=torch.float64)
    reach = before.trace(x)["p"].abs().max().item()
    signed, unsigned_parts = QuantParams.from_range(-reach, reach), QuantParams.from_range(0, reach)

    def harm(graph: Graph, grid: QuantParams) -> Tensor:
        def rounded(name: str, y: Tensor) -> Tensor:
            return grid.dequantize(grid.quantize(y)) if name in ("p", "p.negative") else y

        return (graph.execute(x, rounded) - graph.execute(x)).square().mean()

    gain_db = 10 * torch.log10(harm(before, signed) / harm(after, unsigned_parts)).item()
    print(f"{case}: {gain_db:.2f} dB")
    # 5 x 1600 values: the ratio of two error energies scatters by about 2 %, 0.1 dB; no gain would be 0 dB
    assert gain_db == pytest.approx(6.02, abs=0.5)
