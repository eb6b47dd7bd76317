from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from edgesr.export.folds import compose_convs
from edgesr.export.folds.densify_grouped_conv import dense_weight
from edgesr.export.folds.fold import Exactness, FoldResult
from edgesr.export.folds.gate_form import GateForm
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Convolution, Mul, Relu

FOLD = GateForm()


def block(b: Any, gate: Convolution | None = None, **third: Any) -> Graph:
    """A SPABV2 block on its image: (x + f3) * (W f3 + b)."""
    return b.graph(
        b.conv("f3", "input", 4, 4, **third),
        Add(name="sum", inputs=("input", "f3")),
        gate or b.conv("gate", "f3", 4, 4, kernel=1),
        Mul(name="product", inputs=("sum", "gate")),
        channels=4,
    )


@pytest.mark.parametrize("bias", [False, True])
def test_the_gate_reads_what_the_convolution_before_read(
    bias: bool, build: Any, applied: Callable[..., FoldResult]
) -> None:
    result = applied(FOLD, block(build, bias=bias))
    gate = result.graph.producer("gate")
    assert isinstance(gate, Convolution)
    assert (gate.inputs, gate.kernel) == (("input",), (3, 3))
    assert result.graph.producer("f3") is not None


def test_the_gate_keeps_its_activation(build: Any, applied: Callable[..., FoldResult]) -> None:
    gate = build.conv("gate", "f3", 4, 4, kernel=1, activation=Activation.RELU)
    applied(FOLD, block(build, gate))


def test_spanv2(spanv2: Graph, applied: Callable[..., FoldResult]) -> None:
    result = applied(FOLD, spanv2)
    gates = tuple(op.name for op in spanv2 if op.name.endswith("guidance_map_conv"))
    assert result.changed == gates
    assert FOLD.exactness is Exactness.EXACT


def test_one_gate_alone(spanv2: Graph, applied: Callable[..., FoldResult]) -> None:
    result = applied(GateForm(past=frozenset({"block_3.c3.conv"})), spanv2)
    assert result.changed == ("block_3.guidance_map_conv",)
    assert "not among the tensors to read past" in result.refused["block_2.guidance_map_conv"]


GATE = {"kernel": 1}
REFUSED: dict[str, tuple[Callable[[Any], Graph], str]] = {
    "no product": (lambda b: b.graph(b.conv("f3", "input", 3, 4), b.conv("gate", "f3", 4, 4, **GATE)), "is no gate"),
    "read twice": (
        lambda b: b.graph(
            b.conv("f3", "input", 4, 4), b.conv("gate", "f3", 4, 4, **GATE), Mul(name="product", inputs=("f3", "gate")),
            Add(name="sum", inputs=("product", "gate")), channels=4,
        ),
        "not read by one product alone",
    ),
    "no convolution before": (
        lambda b: b.graph(
            Relu(name="f3", inputs=("input",)), b.conv("gate", "f3", 4, 4, **GATE),
            Mul(name="product", inputs=("f3", "gate")), channels=4,
        ),
        "'f3' is no convolution",
    ),
    "the image itself": (
        lambda b: b.graph(b.conv("gate", "input", 4, 4, **GATE), Mul(name="p", inputs=("input", "gate")), channels=4),
        "'input' is no convolution",
    ),
    "activated": (lambda b: block(b, activation=Activation.RELU), "the activation of 'f3' lies between"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, build: Any, refused: Callable[..., str]) -> None:
    make, reason = REFUSED[case]
    assert reason in refused(FOLD, make(build), "gate")


def test_refuses_gates_not_asked_for(build: Any, refused: Callable[..., str]) -> None:
    assert "not among the tensors to read past" in refused(GateForm(past=frozenset()), block(build), "gate")


def test_considers_1x1_convolutions_alone(build: Any) -> None:
    assert not FOLD.considers(build.conv("a", "input", 3, 4))
    assert not FOLD.considers(build.conv("a", "input", 3, 4, kernel=1, stride=(2, 2)))


def test_a_swapped_channel_would_be_caught(
    monkeypatch: pytest.MonkeyPatch, build: Any, assert_same: Callable[..., None]
) -> None:
    def swapped(op: Convolution) -> Tensor:
        return dense_weight(op).flip(0)

    before = block(build)
    monkeypatch.setattr(compose_convs, "dense_weight", swapped)
    with pytest.raises(AssertionError):
        assert_same(before, FOLD.apply(before).graph)
