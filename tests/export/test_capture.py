import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.architecture import SRModel
from edgesr.errors import ExportError, UnsupportedOpError
from edgesr.export import aten
from edgesr.export.aten import HANDLERS, NodeReader
from edgesr.export.capture import capture
from edgesr.graph import Graph
from edgesr.ops import DepthToSpace, LeakyRelu, ResizeNearest, ShuffleOrder, Slice

Network = Callable[..., SRModel]
Case = tuple[Callable[[Any, Tensor], Any], dict[str, Any], list[str]]


def conv(inputs: int = 3, outputs: int = 4, kernel: int = 3, **fields: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **fields)


def kinds(graph: Graph) -> list[str]:
    return [type(op).__name__ for op in graph]


def assert_captures(model: SRModel, graph: Graph, sizes: tuple[tuple[int, int], ...] = ((7, 5), (1, 1))) -> None:
    """Beside capture's own check: at sizes of our choice, in multiples, one of them a single pixel."""
    module = model.module.double()
    for height, width in sizes:
        x = torch.rand(2, 3, *(side * model.size_multiple for side in (height, width)), dtype=torch.float64)
        expected = module(x.clone())
        assert (graph.execute(x) - expected).abs().max() <= 1e-12 * max(1, expected.abs().max())
    model.module.float()


MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).reshape(1, 3, 1, 1)


def trained_norm() -> nn.BatchNorm2d:
    """A batch norm whose every constant is far from its start."""
    norm = nn.BatchNorm2d(3)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.3, 2)
    return norm


# --- every operator of the table -----------------------------------------------------------------------------------

READ: dict[str, Case] = {
    "aten.convolution.default": (lambda m, x: m.c(x), {"c": conv()}, ["Conv2d"]),
    "aten.relu.default": (lambda m, x: F.relu(x - 0.5), {}, ["Constant", "Sub", "Relu"]),
    "aten.sigmoid.default": (lambda m, x: x.sigmoid(), {}, ["Sigmoid"]),
    "aten.tanh.default": (lambda m, x: x.tanh(), {}, ["Tanh"]),
    "aten.hardswish.default": (lambda m, x: F.hardswish(x - 0.5), {}, ["Constant", "Sub", "HardSwish"]),
    "aten.leaky_relu.default": (lambda m, x: F.leaky_relu(x - 0.5), {}, ["Constant", "Sub", "LeakyRelu"]),
    "aten.clamp.default": (lambda m, x: x.clamp(0.2, 0.7), {}, ["Clip"]),
    "aten.hardtanh.default": (lambda m, x: F.hardtanh(3 * x), {}, ["Constant", "Mul", "Clip"]),
    "aten.add.Tensor": (lambda m, x: x + m.c(x), {"c": conv(3, 3)}, ["Conv2d", "Add"]),
    "aten.sub.Tensor": (lambda m, x: x - m.c(x), {"c": conv(3, 3)}, ["Conv2d", "Sub"]),
    "aten.mul.Tensor": (lambda m, x: x * x, {}, ["Mul"]),
    "aten.div.Tensor": (lambda m, x: x / 3, {}, ["Constant", "Mul"]),
    "aten.neg.default": (lambda m, x: -x, {}, ["Constant", "Mul"]),
    "aten.pow.Tensor_Scalar": (lambda m, x: x**2, {}, ["Mul"]),
    "aten._native_batch_norm_legit_no_training.default": (
        lambda m, x: m.n(x), {"n": trained_norm()}, ["Constant", "Mul", "Constant", "Add"]
    ),
    "aten.prelu.default": (lambda m, x: m.p(x - 0.5), {"p": nn.PReLU()}, ["Constant", "Sub", "LeakyRelu"]),
    "aten.avg_pool2d.default": (
        lambda m, x: m.u(F.avg_pool2d(x, 3, 1, 1)), {"u": nn.Upsample(scale_factor=2), "scale": 2},
        ["DepthwiseConv2d", "ResizeNearest"],
    ),
    "aten.max_pool2d_with_indices.default": (
        lambda m, x: m.u(F.max_pool2d(x, 2)), {"u": nn.Upsample(scale_factor=2), "size_multiple": 2},
        ["MaxPool", "ResizeNearest"],
    ),
    "aten.cat.default": (lambda m, x: torch.cat([x, m.c(x)], dim=1), {"c": conv()}, ["Conv2d", "Concat"]),
    "aten.pixel_shuffle.default": (
        lambda m, x: F.pixel_shuffle(m.c(x), 2), {"c": conv(3, 12), "scale": 2}, ["Conv2d", "DepthToSpace"]
    ),
    "aten.upsample_nearest2d.vec": (lambda m, x: F.interpolate(x, scale_factor=3), {"scale": 3}, ["ResizeNearest"]),
    "aten.split_with_sizes.default": (
        lambda m, x: torch.cat(torch.split(x, [1, 2], dim=1)[::-1], 1), {}, ["Slice", "Slice", "Concat"]
    ),
    "aten.slice.Tensor": (lambda m, x: x[:, 1:], {}, ["Slice"]),
}  # fmt: skip


def test_the_cases_are_the_table() -> None:
    assert set(READ) == set(HANDLERS)


@pytest.mark.parametrize("key", READ)
def test_every_operator_of_the_table_is_read(key: str, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, parts, expected = READ[key]
    calls: list[str] = []

    def counted(reader: NodeReader, handler: aten.Handler = HANDLERS[key]) -> object:
        calls.append(reader.name)
        return handler(reader)

    monkeypatch.setitem(HANDLERS, key, counted)
    model = network(forward, **parts)
    graph = capture(model)
    assert calls
    assert kinds(graph) == expected
    assert_captures(model, graph)


ATTRIBUTES: dict[str, Case] = {
    "no bias": (lambda m, x: m.c(x), {"c": conv(bias=False)}, ["Conv2d"]),
    "depthwise": (lambda m, x: m.c(x), {"c": conv(3, 3, groups=3)}, ["DepthwiseConv2d"]),
    "depthwise x4": (lambda m, x: m.c(x), {"c": conv(3, 12, groups=3)}, ["DepthwiseConv2d"]),
    "groups": (lambda m, x: m.d(m.c(x)), {"c": conv(3, 4), "d": conv(4, 6, groups=2)}, ["Conv2d", "Conv2d"]),
    "dilation": (lambda m, x: m.c(x), {"c": nn.Conv2d(3, 4, 3, padding=2, dilation=2)}, ["Conv2d"]),
    "padding same": (lambda m, x: m.c(x), {"c": nn.Conv2d(3, 4, (5, 1), padding="same")}, ["Conv2d"]),
    "relu6": (lambda m, x: F.relu6(9 * x), {}, ["Constant", "Mul", "Relu6"]),
    "clamp to relu": (lambda m, x: (x - 0.5).clamp(min=0), {}, ["Constant", "Sub", "Relu"]),
    "upper bound": (lambda m, x: x.clamp(max=0.5), {}, ["Clip"]),
    "clamp to the image": (lambda m, x: (2 * x).clamp(0, 1), {}, ["Constant", "Mul", "Clip"]),
    "in-place relu": (lambda m, x: m.r(m.c(x)), {"c": conv(), "r": nn.ReLU(inplace=True)}, ["Conv2d", "Relu"]),
    "in-place sum": (lambda m, x: m.c(x).add_(m.d(x)), {"c": conv(), "d": conv()}, ["Conv2d", "Conv2d", "Add"]),
    "alpha": (lambda m, x: torch.add(x, x, alpha=2), {}, ["Constant", "Mul", "Add"]),
    "alpha of a difference": (lambda m, x: torch.sub(x, x, alpha=0.5), {}, ["Constant", "Mul", "Sub"]),
    "the image changed in place": (lambda m, x: x.mul_(2) + 1, {}, ["Constant", "Mul", "Constant", "Add"]),
    "the image returned after a change in place": (lambda m, x: x.sub_(m.mean), {"mean": MEAN}, ["Constant", "Sub"]),
    "batch norm without parameters": (
        lambda m, x: m.n(x), {"n": nn.BatchNorm2d(3, affine=False)}, ["Constant", "Mul", "Constant", "Add"]
    ),
    "prelu by channel": (
        lambda m, x: F.prelu(x - 0.5, m.slopes), {"slopes": torch.tensor([0.1, 0.2, -0.3])},
        ["Constant", "Sub", "Relu", "Constant", "Mul", "Constant", "Mul", "Add"],
    ),
    "silu": (lambda m, x: F.silu(x), {}, ["Sigmoid", "Mul"]),
    "chunk": (
        lambda m, x: torch.cat(m.c(x).chunk(3, 1)[::-1], 1), {"c": conv(3, 5)}, ["Conv2d", *["Slice"] * 3, "Concat"]
    ),
    "chunk, counted from behind": (lambda m, x: torch.cat(m.c(x).chunk(2, -3), -3), {"c": conv()}, None),
    "two splits of one name": (
        lambda m, x: m.c(x).chunk(2, 1)[0] * m.d(x).chunk(2, 1)[1], {"c": conv(), "d": conv()}, None
    ),
    "slice to the end": (lambda m, x: m.c(x)[:, 2:] + m.c(x)[:, :2] + m.c(x)[:, -2:], {"c": conv()}, None),
    "empty modules": (
        lambda m, x: m.i(m.d(m.c(x))), {"c": conv(), "d": nn.Dropout(), "i": nn.Identity()}, ["Conv2d"]
    ),
    "copies": (lambda m, x: m.c(x).contiguous().clone().detach(), {"c": conv()}, ["Conv2d"]),
    "nn.Upsample": (lambda m, x: m.u(x), {"u": nn.Upsample(scale_factor=2), "scale": 2}, ["ResizeNearest"]),
    "one convolution twice": (lambda m, x: m.c(m.c(x)), {"c": conv(3, 3)}, ["Conv2d", "Conv2d"]),
    "weight norm": (lambda m, x: m.c(x), {"c": nn.utils.parametrizations.weight_norm(conv())}, ["Conv2d"]),
    "nothing": (lambda m, x: x, {}, []),
}  # fmt: skip


@pytest.mark.parametrize("case", ATTRIBUTES)
def test_attributes_are_read(case: str, network: Network) -> None:
    forward, parts, expected = ATTRIBUTES[case]
    model = network(forward, **parts)
    graph = capture(model)
    assert expected is None or kinds(graph) == expected
    assert_captures(model, graph)


def test_values_of_attributes(network: Network) -> None:
    slope = capture(network(lambda m, x: F.leaky_relu(x, 0.3))).ops[-1]
    assert isinstance(slope, LeakyRelu) and slope.slope == 0.3
    resize = capture(network(lambda m, x: F.interpolate(x, scale_factor=4.0, mode="nearest"), scale=4)).ops[-1]
    assert isinstance(resize, ResizeNearest) and resize.factor == 4
    shuffle = capture(network(lambda m, x: F.pixel_shuffle(torch.cat([x] * 3, 1), 3), scale=3)).ops[-1]
    assert isinstance(shuffle, DepthToSpace) and (shuffle.block, shuffle.order) == (3, ShuffleOrder.CRD)
    part = capture(network(lambda m, x: x[:, -2:-1])).ops[-1]
    assert isinstance(part, Slice) and (part.start, part.stop) == (1, 2)


# --- constants -----------------------------------------------------------------------------------------------------

CONSTANTS: dict[str, tuple[Callable[[Any, Tensor], Tensor], list[str]]] = {
    "buffer": (lambda m, x: x - m.mean, ["Constant", "Sub"]),
    "mean and deviation": (lambda m, x: (x - m.mean) / (m.mean + 1), ["Constant", "Sub", "Constant", "Mul"]),
    "arithmetic on buffers": (lambda m, x: x * (1 / m.mean.sqrt()).view(3, 1, 1), ["Constant", "Mul"]),
    "parts of buffers": (lambda m, x: x + torch.cat(m.mean.chunk(3, 1)[::-1], 1), ["Constant", "Add"]),
    "a buffer expanded": (lambda m, x: x + m.mean[:, :1].expand(1, 3, 1, 1), ["Constant", "Add"]),
    "made in forward": (lambda m, x: x * torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1), ["Constant", "Mul"]),
    "filled in forward": (lambda m, x: x + torch.full((1, 3, 1, 1), 0.1), ["Constant", "Add"]),
    "cast to the image's dtype": (lambda m, x: x * (1 / m.mean).to(x.dtype), ["Constant", "Mul"]),
    "a wider buffer cast": (lambda m, x: x * m.wide.to(x.dtype), ["Constant", "Mul"]),
    "cast to the image's type": (lambda m, x: x - (1 / m.mean).type_as(x), ["Constant", "Sub"]),
    "a number that float32 does not hold": (lambda m, x: x * 0.1, ["Constant", "Mul"]),
    "a number on the left": (lambda m, x: 1 - x, ["Constant", "Sub"]),
    "an integer": (lambda m, x: 255 * x + 1, ["Constant", "Mul", "Constant", "Add"]),
    "a scalar buffer": (lambda m, x: x * m.mean[0, 0, 0, 0], ["Constant", "Mul"]),
    "a number read from a buffer": (lambda m, x: x * m.mean[0, 0, 0, 0].item(), ["Constant", "Mul"]),
    "division by a number": (lambda m, x: x / 255.0, ["Constant", "Mul"]),
    "weights computed": (lambda m, x: F.conv2d(x, m.mean.expand(4, 3, 1, 1) * 2, m.bias / 2), ["Conv2d"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CONSTANTS)
def test_arithmetic_on_constants_is_done_at_capture(case: str, network: Network) -> None:
    forward, expected = CONSTANTS[case]
    model = network(forward, mean=MEAN, bias=torch.rand(4), wide=MEAN.double() / 3)
    graph = capture(model)
    assert kinds(graph) == expected
    assert_captures(model, graph)


class PlainAttributes(nn.Module):
    """Keeps its kernel where `Module.double` does not find it."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = torch.rand(4, 3, 3, 3)
        self.mean, self.rate = MEAN, MEAN.sqrt()

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d((x - self.mean) * (1 / self.rate), self.kernel, padding=1)


def test_tensors_in_plain_attributes() -> None:
    module = PlainAttributes()
    graph = capture(SRModel("plain", "test", module, {}, 1, "", ""))
    assert kinds(graph) == ["Constant", "Sub", "Constant", "Mul", "Conv2d"]
    assert module.kernel.dtype == torch.float32, "the model itself is left alone"


# --- refusals ------------------------------------------------------------------------------------------------------


def test_all_unsupported_operators_are_listed_at_once_with_their_places(network: Network) -> None:
    model = network(
        lambda m, x: x * m.body(x)[:, :, :1, None] + m.body(m.act(x)).cumsum(1)[:, :, :1, None],
        body=nn.Sequential(nn.Conv2d(3, 3, 1), Attention()),
        act=nn.GELU(),
    )
    with pytest.raises(UnsupportedOpError) as refusal:
        capture(model)
    message = str(refusal.value)
    assert "\n" not in message
    assert message.startswith("test: outside the vocabulary of NPU-native operators: ")
    assert "aten._softmax.default at body.1 (2x)" in message
    assert "aten.bmm.default at body.1 (2x)" in message
    assert "aten.gelu.default at act (1x)" in message
    assert "aten.cumsum.default at forward (1x)" in message
    assert "convolution.default" not in message
    assert message.endswith("concat, pixel shuffle or nearest resize, or export it as it is with --route general")


def test_attributes_are_listed_with_operators_and_what_follows_a_refusal_is_not(network: Network) -> None:
    """Of one run: two operators, two attributes. The product of two refused values is nothing to complain about."""
    model = network(
        lambda m, x: torch.cat([F.gelu(x) * F.gelu(x), x / (x + 1)], 2)[:, ::2] + F.conv2d(x, F.gelu(x)) ** 3,
    )
    with pytest.raises(UnsupportedOpError) as refusal:
        capture(model)
    message = str(refusal.value)
    assert [f"({n}) " in message for n in range(1, 7)] == [True] * 5 + [False], message
    for part in ("aten.gelu.default at forward (3x) in conftest.py:", "a computed tensor", "axis 2", "steps of 2"):
        assert part in message
    assert "the power 3" in message and "weights" not in message


class Attention(nn.Module):
    """(N, C, H, W) to (N, C, C)."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        return torch.softmax(flat @ flat.transpose(1, 2), -1)


UNSUPPORTED: dict[str, tuple[Callable[[Any, Tensor], Any], dict[str, Any], str]] = {
    "batch norm by the image's own statistics": (
        lambda m, x: m.n(x), {"n": nn.BatchNorm2d(3, track_running_stats=False)},
        "at n .*by each image's own statistics",
    ),
    "pooling of what is not counted": (
        lambda m, x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), {}, "padding that is not counted"
    ),
    "max pooling": (lambda m, x: F.max_pool2d(x, 3, 1, 1), {}, "only square windows side by side"),
    "group norm": (lambda m, x: m.n(x), {"n": nn.GroupNorm(1, 3)}, "aten.native_group_norm.* at n"),
    "layer norm": (
        lambda m, x: m.n(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), {"n": nn.LayerNorm(3)}, "native_layer_norm.* at n"
    ),
    "global pooling": (lambda m, x: x * x.mean((2, 3), keepdim=True), {}, "aten.mean.dim at forward"),
    "bilinear": (lambda m, x: F.interpolate(x, scale_factor=2, mode="bilinear"), {"scale": 2}, "upsample_bilinear2d"),
    "reflect padding": (
        lambda m, x: m.c(x), {"c": conv(padding_mode="reflect")},
        r"aten.reflection_pad2d.default at c \(1x\) in .*: reflect padding; .* \[refused by mediatek-neuropilot, too",
    ),
    "power": (lambda m, x: x**3, {}, "aten.pow.Tensor_Scalar"),
    "transposed convolution": (
        lambda m, x: m.c(x), {"c": nn.ConvTranspose2d(3, 3, 2, 2), "scale": 2},
        r"at c \(1x\) .*: transposed convolution; use"
    ),
    "joined rows": (lambda m, x: torch.cat([x, x], 2), {}, "joins axis 2; only channels"),
    "split rows": (lambda m, x: enlarged(x).split([2, 4 * x.shape[2] - 2], 2)[0], {}, "splits axis 2; only channels"),
    "cropped rows": (lambda m, x: enlarged(x)[:, :, 2:], {}, "takes axis 2 in steps of 1; only runs of channels"),
    "one image of the batch": (lambda m, x: x[:1], {}, "takes axis 0 in steps of 1"),
    "every other channel": (lambda m, x: x[:, ::2], {}, "takes axis 1 in steps of 2"),
    "computed divisor": (lambda m, x: x / (x + 1), {}, "division by a computed tensor"),
    "computed weights": (lambda m, x: F.conv2d(x, x), {}, "its weights are computed from the image"),
    "a computed bound": (lambda m, x: x.clamp(max=x.shape[2]), {}, "at forward .*: argument 2 is computed"),
    "resize by 3/2": (lambda m, x: F.interpolate(x, scale_factor=1.5), {}, "only a whole scale_factor"),
    "resize to a size": (lambda m, x: F.interpolate(x, size=(48, 80)), {}, "a fixed size cannot"),
    "uneven resize": (lambda m, x: F.interpolate(x, scale_factor=(2.0, 3.0)), {}, "the same for both axes"),
    "a constant batch": (lambda m, x: x + m.w, {"w": torch.rand(2, 3, 1, 1)}, r"a constant of shape \(2, 3, 1, 1\)"),
    "five axes": (lambda m, x: x + m.w, {"w": torch.rand(1, 1, 3, 1, 1)}, r"a constant of shape \(1, 1, 3, 1, 1\)"),
    "the size": (lambda m, x: x * x.shape[2], {}, "aten.mul.Tensor at forward .*: it reads an image size"),
    "arithmetic on the size": (lambda m, x: x + (x.shape[2] * x.shape[3] - 1), {}, "it reads an image size"),
    "two images": (lambda m, x: (x, x + 1), {}, "must return one image tensor, it returns a tuple of 2"),
    "a tuple of one": (lambda m, x: (x + 1,), {}, "must return one image tensor, it returns a tuple of 1"),
    "a dict": (lambda m, x: {"sr": x + 1}, {}, "must return one image tensor, it returns a dict of 1"),
    "a list with None": (lambda m, x: [x + 1, None], {}, "must return one image tensor, it returns a list of 2"),
    "a constant": (lambda m, x: m.w * 2, {"w": MEAN}, "it returns a value that does not depend on the image"),
    "nothing": (lambda m, x: None, {}, "must return one image tensor, it returns"),
    "a buffer in place": (lambda m, x: x + m.w.add_(1), {"w": MEAN.clone()}, "its forward changes 'w' in place"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_refuses_what_is_outside_the_vocabulary(case: str, network: Network) -> None:
    forward, parts, message = UNSUPPORTED[case]
    with pytest.raises(UnsupportedOpError, match=message) as refusal:
        capture(network(forward, **parts))
    assert "\n" not in str(refusal.value)


def enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=4)


UNTRACEABLE: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
    "control flow on size": (
        lambda m, x: m.c(x) if x.shape[2] > 16 else x,
        {"c": conv(3, 3)},
        r"Constraints violated \(height_blocks\)! .*17 <=",
    ),
    "a fixed size": (lambda m, x: x.reshape(1, 3, 24, 40) * 2, {}, "specialized it to be a constant"),
    "a constant for each column": (lambda m, x: x + m.w, {"w": torch.rand(40)}, "specialized it to be a constant"),
    "control flow on values": (lambda m, x: x if x.sum() > 0 else -x, {}, "cannot trace .* data-dependent"),
    "another signature": (lambda m, x, y: x + y, {}, "missing 1 required positional argument: 'y'"),
    "no padding": (lambda m, x: m.c(x), {"c": nn.Conv2d(3, 3, 3)}, "Constraints violated"),
    "its own failure": (lambda m, x: m.nothing(x), {}, "has no attribute 'nothing'"),
    "the wrong scale": (
        lambda m, x: 2 * x, {"scale": 4}, r"makes \(17, 29\) pixels of \(17, 29\), which is not the model's scale 4"
    ),
    "a cast": (lambda m, x: x.float() * 2, {}, "its forward casts to torch.float32; leave the dtype"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNTRACEABLE)
def test_refuses_what_cannot_be_traced_or_checked(case: str, network: Network) -> None:
    forward, parts, message = UNTRACEABLE[case]
    with pytest.raises(ExportError, match=message) as refusal:
        capture(network(forward, **parts))
    assert "\n" not in str(refusal.value)
    assert "TORCH_LOGS" not in str(refusal.value)


class KernelList(nn.Module):
    """Keeps its kernel in a list, out of reach of any conversion."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = [torch.rand(3, 3, 3, 3)]

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernels[0], padding=1)


def test_refuses_what_runs_in_float32_alone() -> None:
    with pytest.raises(
        ExportError, match="list: its forward fails in float64, where it is checked: expected scalar type"
    ):
        capture(SRModel("list", "test", KernelList(), {}, 1, "", ""))


# --- the proof -----------------------------------------------------------------------------------------------------

WRONG: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a difference for a sum": lambda p: p.setitem(HANDLERS, "aten.add.Tensor", HANDLERS["aten.sub.Tensor"]),
    "a sigmoid for a ReLU": lambda p: p.setitem(HANDLERS, "aten.relu.default", HANDLERS["aten.sigmoid.default"]),
    "a product for its input": lambda p: p.setitem(HANDLERS, "aten.mul.Tensor", lambda reader: reader.tensor(0)),
    "another channel order": lambda p: p.setitem(HANDLERS, "aten.pixel_shuffle.default", native_shuffle),
}


def native_shuffle(reader: NodeReader) -> str:
    block = DepthToSpace(name=reader.name, inputs=(reader.tensor(0),), block=2, order=ShuffleOrder.DCR)
    return reader.add(block)


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_handler_is_caught(case: str, small_model: SRModel, monkeypatch: pytest.MonkeyPatch) -> None:
    WRONG[case](monkeypatch)
    with pytest.raises(ExportError, match="the captured graph differs from the module by"):
        capture(small_model)


def test_a_graph_of_another_shape_is_caught(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """One channel broadcasts against three equal ones: the difference alone would not tell."""
    monkeypatch.setitem(HANDLERS, "aten.cat.default", lambda reader: reader.tensors(0)[0])
    with pytest.raises(ExportError, match="differs from the module by inf"):
        capture(network(lambda m, x: torch.cat([x[:, :1]] * 3, 1)))


def test_not_a_number_is_caught(network: Network) -> None:
    with pytest.raises(ExportError, match="differs from the module by nan"):
        capture(network(lambda m, x: x * m.w, w=torch.tensor(float("nan"))))


# --- SPANV2 --------------------------------------------------------------------------------------------------------


def test_spanv2_computes_what_the_module_computes(small_model: SRModel, small_spanv2: Graph) -> None:
    assert_captures(small_model, small_spanv2)


def test_other_contracts(network: Network) -> None:
    """A size multiple: the network is only ever seen at multiples of it. And gray images."""
    half = network(lambda m, x: m.u(m.c(x)), size_multiple=2, c=conv(3, 3, stride=2), u=nn.Upsample(scale_factor=2))
    graph = capture(half)
    assert graph.scale == 1
    assert_captures(half, graph, sizes=((2, 4), (6, 10)))
    gray = capture(network(lambda m, x: m.c(x), c=conv(1, 2)), in_channels=1)
    assert gray.input.channels == 1


def test_is_silent_even_where_warnings_are_shown(network: Network) -> None:
    """torch.export warns of its own deprecations; a user would take that for something about the network."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        capture(network(lambda m, x: m.c(x), c=conv()))
    assert [str(w.message) for w in shown] == []


def test_leaves_the_module_alone(small_model: SRModel) -> None:
    before = {key: value.clone() for key, value in small_model.module.state_dict().items()}
    capture(small_model)
    after = small_model.module.state_dict()
    assert all(torch.equal(before[key], after[key]) and after[key].dtype == torch.float32 for key in before)
    assert not small_model.module.training
