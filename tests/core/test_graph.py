from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from edgesr.errors import ExportError
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Concat, Constant, Conv2d, DepthToSpace, Mul, Op, Relu, Sigmoid, TensorSpec

GENERATOR = torch.Generator().manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def conv(name: str, source: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> Conv2d:
    pad = (kernel // 2, kernel // 2)
    weight = randn(outputs, inputs, kernel, kernel)
    return Conv2d(name=name, inputs=(source,), weight=weight, bias=randn(outputs), padding=pad, stride=(stride, stride))


def graph(*ops: Op, output: str = "out") -> Graph:
    return Graph("test", TensorSpec("x", 3), ops, output)


GATED = graph(
    conv("a", "x", 3, 4),
    Relu(name="r", inputs=("a",)),
    conv("g", "r", 4, 4, kernel=1),
    Mul(name="m", inputs=("r", "g")),
    Constant(name="k", inputs=(), value=randn(4)),
    Add(name="s", inputs=("m", "k")),
    Concat(name="j", inputs=("s", "a")),
    conv("h", "j", 8, 12),
    DepthToSpace(name="out", inputs=("h",), block=2),
)


def by_hand(x: Tensor) -> Tensor:
    """GATED, operator by operator."""
    op = {op.name: op for op in GATED}
    a = op["a"].evaluate(x)
    r = a.clamp(min=0)
    s = r * op["g"].evaluate(r) + GATED.parameters()["k", "value"].to(x)[None, :, None, None]
    return op["out"].evaluate(op["h"].evaluate(torch.cat([s, a], 1)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [(5, 7), (1, 1)])
def test_executes_its_operators(size: tuple[int, int], dtype: torch.dtype) -> None:
    x = randn(2, 3, *size).to(dtype)
    y = GATED.execute(x)
    assert y.dtype == dtype and y.shape == (2, 3, 2 * size[0], 2 * size[1])
    assert (y - by_hand(x)).abs().max() <= 8 * torch.finfo(dtype).eps * y.abs().max()


def test_an_input_may_be_the_output() -> None:
    x = randn(1, 3, 2, 2)
    assert graph(output="x").execute(x) is x


def test_an_output_that_others_read_is_still_returned() -> None:
    a = conv("a", "x", 3, 3)
    x = randn(1, 3, 4, 4)
    assert torch.equal(graph(a, Relu(name="r", inputs=("a",)), output="a").execute(x), a.evaluate(x))


def test_an_observer_sees_and_changes_every_tensor() -> None:
    seen: list[str] = []

    def halve_products(name: str, tensor: Tensor) -> Tensor:
        seen.append(name)
        return tensor / 2 if name == "m" else tensor

    x = randn(1, 3, 4, 4)
    halved = GATED.execute(x, halve_products)
    assert seen == ["x", *(op.name for op in GATED)]
    gates = {key: value / 2 for key, value in GATED.parameters().items() if key[0] == "g"}
    expected = GATED.with_parameters(gates).execute(x)
    assert not torch.equal(halved, GATED.execute(x))
    assert (halved - expected).abs().max() <= 1e-13 * expected.abs().max()


def test_trace_holds_every_tensor() -> None:
    x = randn(1, 3, 4, 4)
    values = GATED.trace(x)
    assert list(values) == ["x", *(op.name for op in GATED)]
    assert torch.equal(values["out"], GATED.execute(x))
    assert torch.equal(values["r"], values["a"].clamp(min=0))


def test_gradients_reach_the_image_and_every_parameter() -> None:
    x = randn(1, 3, 4, 4).requires_grad_()
    parameters = {key: value.clone().requires_grad_() for key, value in GATED.parameters().items()}
    GATED.with_parameters(parameters).execute(x).square().sum().backward()
    for leaf in (x, *parameters.values()):
        assert leaf.grad is not None and leaf.grad.abs().max() > 0


def test_specs_scale_and_consumers() -> None:
    assert GATED.specs["j"] == TensorSpec("j", 8)
    assert GATED.specs["k"] == TensorSpec("k", 4, None)
    assert GATED.specs["out"] == TensorSpec("out", 3, Fraction(2))
    assert GATED.scale == 2
    assert [op.name for op in GATED.consumers["a"]] == ["r", "j"]
    assert [op.name for op in GATED.consumers["r"]] == ["g", "m"]
    assert GATED.consumers["out"] == ()


def test_an_operator_that_reads_a_tensor_twice_is_one_consumer() -> None:
    square = Mul(name="out", inputs=("a", "a"))
    squared = graph(conv("a", "x", 3, 3), square)
    assert squared.consumers["a"] == (square,)
    assert squared.sole_consumer("a") is square
    x = randn(1, 3, 2, 2)
    assert torch.equal(squared.execute(x), squared.trace(x)["a"] ** 2)


def test_producers_and_sole_consumers() -> None:
    relu = GATED.producer("r")
    assert isinstance(relu, Relu)
    assert GATED.producer("x") is None
    assert GATED.sole_consumer("x") is GATED.producer("a")
    assert GATED.sole_consumer("a") is None, "two readers"
    assert GATED.sole_consumer("out") is None, "no reader"
    assert graph(conv("a", "x", 3, 3), Relu(name="r", inputs=("a",)), output="a").sole_consumer("a") is None, "output"


def test_rewritten_replaces_and_prunes() -> None:
    new = conv("out", "x", 3, 12)
    result = GATED.rewritten({"out": (new,)})
    assert result.ops == (new,)
    assert len(GATED.ops) == 9, "the graph itself is a value"
    two = graph(conv("out", "x", 3, 3)).rewritten({"out": (conv("b", "x", 3, 4), conv("out", "b", 4, 3))})
    assert [op.name for op in two] == ["b", "out"]


def test_rewritten_may_name_another_output() -> None:
    relu = Relu(name="r", inputs=("a",))
    assert graph(conv("a", "x", 3, 3), relu, output="r").rewritten({"r": ()}, output="a").output == "a"


def test_without_connects_readers_to_the_source() -> None:
    result = GATED.without("r")
    assert [op.inputs for op in result if op.name in "gm"] == [("a",), ("a", "g")]
    end = graph(conv("a", "x", 3, 3), Sigmoid(name="out", inputs=("a",))).without("out")
    assert (end.output, len(end.ops)) == ("a", 1)


def test_without_prunes_what_only_the_operator_read() -> None:
    k = Constant(name="k", inputs=(), value=randn(3))
    result = graph(conv("a", "x", 3, 3), k, Add(name="out", inputs=("a", "k"))).without("out")
    assert [op.name for op in result] == ["a"]


def test_pruned_drops_what_does_not_reach_the_output() -> None:
    dead = graph(conv("out", "x", 3, 3), Relu(name="dead", inputs=("out",)), Relu(name="too", inputs=("dead",)))
    assert [op.name for op in dead.pruned()] == ["out"]
    assert GATED.pruned() is GATED


def test_parameters_round_trip() -> None:
    parameters = GATED.parameters()
    assert set(parameters) == {(n, f) for n in "agh" for f in ("weight", "bias")} | {("k", "value")}
    changed = GATED.with_parameters({("a", "bias"): torch.zeros(4)})
    assert changed.parameters()["a", "bias"].abs().sum() == 0
    assert torch.equal(GATED.parameters()["a", "bias"], parameters["a", "bias"])
    assert changed.parameters()["a", "weight"] is parameters["a", "weight"]


def test_counts() -> None:
    per_pixel = 3 * 4 * 9 + 4 * 4 + 8 * 12 * 9
    assert GATED.macs_per_input_pixel() == per_pixel
    assert GATED.macs(10, 20) == 200 * per_pixel
    assert GATED.parameter_count() == per_pixel + 4 + 4 + 12 + 4


def test_macs_count_positions_of_their_own_size() -> None:
    up = DepthToSpace(name="d", inputs=("a",), block=2)
    strided = graph(conv("a", "x", 3, 4, stride=2), up, conv("out", "d", 1, 2))
    assert strided.macs_per_input_pixel() == Fraction(3 * 4 * 9, 4) + 2 * 9
    assert strided.macs(8, 6) == 3 * 4 * 9 * 12 + 2 * 9 * 48


REFUSED: dict[str, tuple[Callable[[], Graph], str]] = {
    "assigned twice": (lambda: graph(conv("a", "x", 3, 3), conv("a", "x", 3, 3), output="a"), "'a' is assigned twice"),
    "assigned over the image": (lambda: graph(conv("x", "x", 3, 3), output="x"), "'x' is assigned twice"),
    "read before made": (
        lambda: graph(Relu(name="out", inputs=("a",)), conv("a", "x", 3, 3)), "'out' reads 'a' before it is made"
    ),
    "read and never made": (lambda: graph(Add(name="out", inputs=("x", "q"))), "'out' reads 'q' before it is made"),
    "no output": (lambda: graph(conv("a", "x", 3, 3)), "output 'out' is made by no operator"),
    "constant output": (lambda: graph(Constant(name="out", inputs=(), value=randn(3))), "output 'out' is a constant"),
    "channels": (lambda: graph(conv("out", "x", 4, 3)), "Conv2d 'out': weight .* does not fit 3 channels"),
    "sizes": (
        lambda: graph(
            conv("a", "x", 3, 12), DepthToSpace(name="d", inputs=("a",), block=2), Add(name="out", inputs=("d", "x"))
        ),
        "differ in size .2 and 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(ExportError, match=message):
        make()


def test_changes_to_operators_that_are_not_there_are_refused() -> None:
    with pytest.raises(KeyError, match="no operator 'q'"):
        GATED.rewritten({"q": ()})
    with pytest.raises(KeyError, match="no operator 'q'"):
        GATED.with_parameters({("q", "weight"): randn(1)})


def test_a_fused_activation_is_part_of_the_operator() -> None:
    a = conv("a", "x", 3, 4)
    fused = Conv2d(**{**vars(a), "name": "out", "activation": Activation.RELU})
    x = randn(1, 3, 3, 3)
    assert torch.equal(graph(fused).execute(x), a.evaluate(x).clamp(min=0))


def test_live_values_are_those_that_stand_at_once() -> None:
    """x 3 and a 8; a 8 and b 4; then a beside b and c, which has 2 channels at twice the size: 8 values a pixel."""
    ops = (
        conv("a", "x", 3, 8),
        conv("b", "a", 8, 4),
        DepthToSpace(name="c", inputs=("a",), block=2),
        DepthToSpace(name="d", inputs=("b",), block=2),
        Mul(name="out", inputs=("c", "d")),
    )
    assert graph(*ops).live_values_per_input_pixel == 8 + 4 + 8
    assert graph(*ops[:1], conv("out", "a", 8, 1)).live_values_per_input_pixel == 3 + 8
    constant = Constant(name="k", inputs=(), value=randn(3))
    assert graph(constant, Mul(name="out", inputs=("x", "k"))).live_values_per_input_pixel == 3 + 3
