"""Every operator against its formula, written here by loops and clamps and not by the torch function that it calls."""

import dataclasses
import inspect
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor

import edgesr.ops
from edgesr.errors import ExportError
from edgesr.ops import (
    VOCABULARY,
    Activation,
    Add,
    Binary,
    Clip,
    Concat,
    Constant,
    Conv2d,
    Convolution,
    DepthToSpace,
    DepthwiseConv2d,
    HardSwish,
    LeakyRelu,
    MaxPool,
    Mul,
    Op,
    Relu,
    Relu6,
    Requantize,
    ResizeNearest,
    ShuffleOrder,
    Sigmoid,
    Slice,
    Sub,
    Tanh,
    TensorSpec,
)

ONE, TWO = ("x",), ("x", "y")
HEIGHT, WIDTH = 5, 7
GENERATOR = torch.Generator().manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def image(channels: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    return 4 * randn(2, channels, height, width)


def convolved(op: Convolution, x: Tensor) -> Tensor:
    """Every output value as the sum over one window, term by term."""
    (sh, sw), (ph, pw), (dh, dw) = op.stride, op.padding, op.dilation
    (kh, kw), (rows, per_group) = op.kernel, op.weight.shape[:2]
    padded = torch.zeros(len(x), x.shape[1], x.shape[2] + 2 * ph, x.shape[3] + 2 * pw, dtype=x.dtype)
    padded[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]] = x
    height = (padded.shape[2] - dh * (kh - 1) - 1) // sh + 1
    width = (padded.shape[3] - dw * (kw - 1) - 1) // sw + 1
    y = torch.zeros(len(x), rows, height, width, dtype=x.dtype)
    for o in range(rows):
        first = o // (rows // op.group_count) * per_group
        for h in range(height):
            for w in range(width):
                top, left = h * sh, w * sw
                window = padded[:, first : first + per_group, top : top + dh * kh : dh, left : left + dw * kw : dw]
                y[:, o, h, w] = (window[:, :, :kh, :kw] * op.weight[o]).sum((1, 2, 3))
    return y if op.bias is None else y + op.bias[:, None, None]


def shuffled(op: DepthToSpace, x: Tensor) -> Tensor:
    """Channel c of the output at offset (i, j) of its cell, by the formulas in ShuffleOrder."""
    r, colours = op.block, x.shape[1] // op.block**2
    y = torch.empty(len(x), colours, x.shape[2] * r, x.shape[3] * r, dtype=x.dtype)
    for c in range(colours):
        for i in range(r):
            for j in range(r):
                crd, dcr = c * r * r + i * r + j, (i * r + j) * colours + c
                y[:, c, i::r, j::r] = x[:, crd if op.order is ShuffleOrder.CRD else dcr]
    return y


def repeated(op: ResizeNearest, x: Tensor) -> Tensor:
    return torch.kron(x, torch.ones(op.factor, op.factor, dtype=x.dtype))


def pairs(x: Tensor) -> Tensor:
    """`x` cut to even sides."""
    return x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]


def largest(op: MaxPool, x: Tensor) -> Tensor:
    corners = [x[:, :, i :: op.window, j :: op.window] for i in range(op.window) for j in range(op.window)]
    return torch.stack(corners).amax(0)


Case = tuple[Op, tuple[Tensor, ...], Callable[..., Tensor]]
WEIGHT, BIAS = randn(4, 3, 3, 3), randn(4)
CASES: dict[str, Case] = {
    "Conv2d": (Conv2d(name="z", inputs=ONE, weight=WEIGHT, padding=(1, 1)), (image(3),), convolved),
    "Conv2d with bias": (
        Conv2d(name="z", inputs=ONE, weight=WEIGHT, bias=BIAS, padding=(1, 1)), (image(3),), convolved
    ),
    "Conv2d in groups": (
        Conv2d(name="z", inputs=ONE, weight=randn(4, 3, 3, 3), groups=2, padding=(1, 1)), (image(6),), convolved
    ),
    "Conv2d of odd geometry": (
        Conv2d(name="z", inputs=ONE, weight=randn(2, 3, 2, 3), stride=(2, 2), padding=(1, 2), dilation=(3, 1)),
        (image(3, 8, 7),),
        convolved,
    ),
    "Conv2d with ReLU": (
        Conv2d(name="z", inputs=ONE, weight=WEIGHT, padding=(1, 1), activation=Activation.RELU),
        (image(3),),
        lambda op, x: convolved(op, x).clamp(min=0),
    ),
    "DepthwiseConv2d": (
        DepthwiseConv2d(name="z", inputs=ONE, weight=randn(3, 1, 3, 3), padding=(1, 1), channels=3),
        (image(3),),
        convolved,
    ),
    "DepthwiseConv2d x2": (
        DepthwiseConv2d(name="z", inputs=ONE, weight=randn(6, 1, 3, 3), bias=randn(6), padding=(1, 1), channels=3),
        (image(3),),
        convolved,
    ),
    "Add": (Add(name="z", inputs=TWO), (image(3), image(3)), lambda op, x, y: x - (-y)),
    "Add with ReLU6": (
        Add(name="z", inputs=TWO, activation=Activation.RELU6),
        (image(3), image(3)),
        lambda op, x, y: (x - (-y)).clamp(0, 6),
    ),
    "Sub": (Sub(name="z", inputs=TWO), (image(3), image(3)), lambda op, x, y: x + (-y)),
    "Mul": (Mul(name="z", inputs=TWO), (image(3), image(3)), lambda op, x, y: torch.einsum("nchw,nchw->nchw", x, y)),
    "Mul of one channel": (
        Mul(name="z", inputs=TWO), (image(1), image(3)), lambda op, x, y: torch.einsum("nhw,nchw->nchw", x[:, 0], y)
    ),
    "Concat": (
        Concat(name="z", inputs=TWO),
        (image(3), image(2)),
        lambda op, x, y: torch.stack([*x.unbind(1), *y.unbind(1)], 1),
    ),
    "Constant": (Constant(name="z", inputs=(), value=BIAS), (), lambda op: BIAS[None, :, None, None]),
    "Relu": (Relu(name="z", inputs=ONE), (image(3),), lambda op, x: torch.where(x > 0, x, 0)),
    "Relu6": (Relu6(name="z", inputs=ONE), (image(3),), lambda op, x: torch.where(x > 6, 6, torch.where(x > 0, x, 0))),
    "LeakyRelu": (
        LeakyRelu(name="z", inputs=ONE, slope=0.2), (image(3),), lambda op, x: torch.where(x > 0, x, 0.2 * x)
    ),
    "Sigmoid": (Sigmoid(name="z", inputs=ONE), (image(3),), lambda op, x: 1 / (1 + (-x).exp())),
    "Tanh": (Tanh(name="z", inputs=ONE), (image(3),), lambda op, x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())),
    "HardSwish": (HardSwish(name="z", inputs=ONE), (image(3),), lambda op, x: x * (x + 3).clamp(0, 6) / 6),
    "Clip": (
        Clip(name="z", inputs=ONE, low=-1, high=2),
        (image(3),),
        lambda op, x: torch.where(x > 2, 2, torch.where(x < -1, -1, x)),
    ),
    "DepthToSpace CRD": (DepthToSpace(name="z", inputs=ONE, block=2), (image(12),), shuffled),
    "DepthToSpace DCR": (
        DepthToSpace(name="z", inputs=ONE, block=3, order=ShuffleOrder.DCR), (image(18),), shuffled
    ),
    "MaxPool": (MaxPool(name="z", inputs=ONE, window=2), (pairs(image(3)),), largest),
    "ResizeNearest": (ResizeNearest(name="z", inputs=ONE, factor=3), (image(2),), repeated),
    "Requantize": (Requantize(name="z", inputs=ONE), (image(3),), lambda op, x: x.clone()),
    "Slice": (
        Slice(name="z", inputs=ONE, start=1, stop=3), (image(4),), lambda op, x: torch.stack([x[:, 1], x[:, 2]], 1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_evaluates_its_formula(case: str) -> None:
    op, inputs, formula = CASES[case]
    actual, expected = op.evaluate(*inputs), formula(op, *inputs)
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-13 * expected.abs().max()  # float64 rounding of a few dozen terms


@pytest.mark.parametrize("case", CASES)
def test_infers_what_it_evaluates(case: str) -> None:
    op, inputs, _ = CASES[case]
    spec = op.infer(*(TensorSpec(n, x.shape[1], Fraction(2)) for n, x in zip(op.inputs, inputs, strict=True)))
    made = op.evaluate(*inputs)
    assert (spec.name, spec.channels) == ("z", made.shape[1])
    if isinstance(op, Constant):
        assert spec.scale is None
    else:  # a strided convolution of an odd size rounds up
        assert spec.scale is not None
        assert made.shape[2] == -(-inputs[0].shape[2] * spec.scale / 2 // 1)


@pytest.mark.parametrize("case", CASES)
def test_is_differentiable_in_its_input_and_its_parameters(case: str) -> None:
    op, inputs, _ = CASES[case]
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    parameters = {field: value.clone().requires_grad_() for field, value in op.parameters().items()}
    op.with_parameters(parameters).evaluate(*inputs).square().sum().backward()
    for leaf in (*inputs, *parameters.values()):
        assert leaf.grad is not None and leaf.grad.abs().max() > 0


@pytest.mark.parametrize("case", [c for c in CASES if c != "Constant"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_computes_in_the_dtype_of_the_image(case: str, dtype: torch.dtype) -> None:
    op, inputs, formula = CASES[case]
    y = op.evaluate(*(x.to(dtype) for x in inputs))
    assert y.dtype == dtype
    expected = formula(op, *inputs)
    # one rounding for each of at most 27 products, the inputs and the result
    assert (y - expected).abs().max() <= 32 * torch.finfo(dtype).eps * max(1, expected.abs().max())


def test_every_operator_is_in_the_vocabulary_and_in_these_tests() -> None:
    members = [value for _, value in inspect.getmembers(edgesr.ops, inspect.isclass) if issubclass(value, Op)]
    assert {op for op in members if not inspect.isabstract(op)} == set(VOCABULARY)
    assert {type(op) for op, _, _ in CASES.values()} == set(VOCABULARY)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (Activation.NONE, [-2.0, 0.0, 3.0, 9.0]),
        (Activation.RELU, [0.0, 0.0, 3.0, 9.0]),
        (Activation.RELU6, [0.0, 0.0, 3.0, 6.0]),
    ],
)
def test_activations(activation: Activation, expected: list[float]) -> None:
    assert activation.apply(torch.tensor([-2.0, 0.0, 3.0, 9.0])).tolist() == expected


@pytest.mark.parametrize(
    ("op", "macs"),
    [
        (Conv2d(name="z", inputs=ONE, weight=randn(48, 3, 3, 3)), 48 * 3 * 9),
        (Conv2d(name="z", inputs=ONE, weight=randn(48, 1, 3, 3), groups=3), 48 * 9),
        (DepthwiseConv2d(name="z", inputs=ONE, weight=randn(80, 1, 3, 3), channels=80), 80 * 9),
        (Mul(name="z", inputs=TWO), 0),
        (DepthToSpace(name="z", inputs=ONE, block=2), 0),
    ],
)
def test_macs(op: Op, macs: int) -> None:
    assert op.macs_per_position() == macs


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({"weight": randn(1, 1, 3, 3), "padding": (1, 1)}, True),
        ({"weight": randn(1, 1, 1, 1)}, True),
        ({"weight": randn(1, 1, 5, 3), "padding": (2, 1)}, True),
        ({"weight": randn(1, 1, 3, 3), "padding": (2, 2), "dilation": (2, 2)}, True),
        ({"weight": randn(1, 1, 3, 3)}, False),
        ({"weight": randn(1, 1, 2, 2), "padding": (1, 1)}, False),
        ({"weight": randn(1, 1, 3, 3), "padding": (1, 1), "stride": (2, 2)}, False),
        ({"weight": randn(1, 1, 3, 3), "padding": (1, 1), "dilation": (2, 2)}, False),
    ],
)
def test_same_convolutions_keep_every_position(fields: dict[str, object], same: bool) -> None:
    op = Conv2d(name="z", inputs=ONE, **fields)  # type: ignore[arg-type]  # literal fields above
    assert op.is_same is same


def spec(channels: int, scale: Fraction | None = Fraction(1)) -> TensorSpec:
    return TensorSpec("x", channels, scale)


def conv(**fields: object) -> Conv2d:
    return Conv2d(name="z", inputs=ONE, **({"weight": WEIGHT} | fields))  # type: ignore[arg-type]  # literal fields


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "channels": (lambda: conv().infer(spec(4)), r"Conv2d 'z': weight \(4, 3, 3, 3\) does not fit 4 channels"),
    "groups": (lambda: conv(groups=3).infer(spec(9)), "does not fit 9 channels"),
    "bias": (lambda: conv(bias=randn(3)).infer(spec(3)), r"bias \(3,\) does not fit"),
    "stride": (lambda: conv(stride=(1, 2)).infer(spec(3)), r"stride \(1, 2\) is not square"),
    "convolved constant": (lambda: conv().infer(spec(3, None)), "its input is a constant"),
    "weight": (lambda: conv(weight=randn(4, 3, 3)), "weight has 3 axes"),
    "no stride": (lambda: conv(stride=(0, 0)), "stride, dilation and groups must be at least 1"),
    "no dilation": (lambda: conv(dilation=(0, 1)), "stride, dilation and groups must be at least 1"),
    "no group": (lambda: conv(groups=0), "stride, dilation and groups must be at least 1"),
    "negative padding": (lambda: conv(padding=(-1, 0)), "padding at least 0"),
    "depthwise": (
        lambda: DepthwiseConv2d(name="z", inputs=ONE, weight=randn(3, 2, 3, 3), channels=3).infer(spec(6)),
        "DepthwiseConv2d 'z': .* sees several channels at once",
    ),
    "depthwise rows": (
        lambda: DepthwiseConv2d(name="z", inputs=ONE, weight=randn(4, 1, 3, 3), channels=3).infer(spec(3)),
        "does not fit 3 channels",
    ),
    "sizes": (lambda: Add(name="z", inputs=TWO).infer(spec(3), spec(3, Fraction(2))), "differ in size .1 and 2"),
    "channels of two": (lambda: Mul(name="z", inputs=TWO).infer(spec(3), spec(2)), "have 3 and 2 channels"),
    "constants": (lambda: Sub(name="z", inputs=TWO).infer(spec(3, None), spec(3, None)), "are both constants"),
    "joined sizes": (lambda: Concat(name="z", inputs=TWO).infer(spec(3), spec(3, Fraction(1, 2))), "differ in size"),
    "joined constant": (lambda: Concat(name="z", inputs=TWO).infer(spec(3), spec(3, None)), "differ in size"),
    "constant": (lambda: Constant(name="z", inputs=(), value=randn(1, 3)).infer(), r"value has shape \(1, 3\)"),
    "clip": (lambda: Clip(name="z", inputs=ONE, low=1, high=0), "bounds 1..0 hold no value"),
    "clip nan": (lambda: Clip(name="z", inputs=ONE, low=float("nan"), high=0), "hold no value"),
    "block": (lambda: DepthToSpace(name="z", inputs=ONE, block=2).infer(spec(6)), "6 channels are no multiple of 2x2"),
    "no block": (lambda: DepthToSpace(name="z", inputs=ONE, block=0), "block 0 is not positive"),
    "shuffled constant": (
        lambda: DepthToSpace(name="z", inputs=ONE, block=2).infer(spec(4, None)), "its input is a constant"
    ),
    "resized constant": (
        lambda: ResizeNearest(name="z", inputs=ONE, factor=2).infer(spec(3, None)), "its input is a constant"
    ),
    "no window": (lambda: MaxPool(name="z", inputs=ONE, window=0), "window 0 is not positive"),
    "pooled constant": (
        lambda: MaxPool(name="z", inputs=ONE, window=2).infer(spec(3, None)), "its input is a constant"
    ),
    "no factor": (lambda: ResizeNearest(name="z", inputs=ONE, factor=0), "factor 0 is not positive"),
    "slice": (lambda: Slice(name="z", inputs=ONE, start=1, stop=4).infer(spec(3)), "channels 1:4 of 3"),
    "empty slice": (lambda: Slice(name="z", inputs=ONE, start=1, stop=1).infer(spec(3)), "channels 1:1 of 3"),
    "slice from the end": (lambda: Slice(name="z", inputs=ONE, start=-1, stop=2).infer(spec(3)), "channels -1:2 of 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(ExportError, match=message):
        make()


@pytest.mark.parametrize("kind", [Add, Sub, Mul])
def test_constants_broadcast_over_positions(kind: type[Binary]) -> None:
    op = kind(name="z", inputs=TWO)
    assert op.infer(spec(3, None), spec(3)) == TensorSpec("z", 3)
    assert op.infer(spec(3, Fraction(4)), spec(1, None)) == TensorSpec("z", 3, Fraction(4))


def test_exchanging_parameters_and_inputs_leaves_the_operator_alone() -> None:
    op = conv(bias=BIAS, padding=(1, 1))
    other = op.with_parameters({"weight": 2 * WEIGHT}).with_inputs({"x": "y", "unrelated": "q"})
    assert (op.inputs, other.inputs) == (("x",), ("y",))
    assert op.weight is WEIGHT and torch.equal(other.weight, 2 * WEIGHT)
    assert other.bias is BIAS and other.padding == (1, 1)
    assert set(op.parameters()) == {"weight", "bias"} and set(conv().parameters()) == {"weight"}
    with pytest.raises(TypeError, match="gain"):
        op.with_parameters({"gain": BIAS})
    with pytest.raises(dataclasses.FrozenInstanceError):
        op.name = "other"  # type: ignore[misc]  # that is the point
