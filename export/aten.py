"""How each core-ATen operator reads as an operator of the graph: one literal table.

A handler gets a `NodeReader` and returns the name of the tensor it made (or a tuple of names). Attributes outside the
vocabulary raise `RefusedOperatorError`, naming the attribute; capture goes on and collects all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from edgesr.errors import UnsupportedOpError
from edgesr.ops import (
    Add,
    Binary,
    Clip,
    Concat,
    Constant,
    Conv2d,
    DepthToSpace,
    DepthwiseConv2d,
    HardSwish,
    LeakyRelu,
    MaxPool,
    Mul,
    Op,
    Relu,
    Relu6,
    ResizeNearest,
    Sigmoid,
    Slice,
    Sub,
    Tanh,
    Unary,
)


class OpaqueValue:
    """A value that no operator of the graph may read: an image size, for instance."""


class RefusedValue:
    """What a refused operator would have made: it stands in, so that the operators after it are still looked at."""


class RefusedOperatorError(UnsupportedOpError):
    """One operator that cannot be read, for the reason that the message says; capture adds where it is."""


class FollowingError(UnsupportedOpError):
    """An operator that cannot be read only because one before it was refused."""


REFUSED_NAME = "refused"


@dataclass(frozen=True)
class NodeReader:
    """One node with the values of the nodes before it.

    A value is a tensor's name, a constant torch tensor, a tuple of names, or opaque.
    """

    node: fx.Node
    values: Mapping[fx.Node, object]
    add: Callable[[Op], str]
    name: str
    arguments: tuple[object, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Fill in the schema's defaults, so that handlers read arguments by position alone."""
        assert isinstance(self.node.target, torch._ops.OpOverload)
        schema = self.node.target._schema.arguments
        given = list(self.node.args)
        for argument in schema[len(given) :]:
            given.append(self.node.kwargs.get(argument.name, argument.default_value))
        object.__setattr__(self, "arguments", tuple(given))

    def fail(self, why: str) -> UnsupportedOpError:
        """The error that says why this operator cannot be read."""
        return RefusedOperatorError(why)

    def value(self, position: int) -> object:
        """What stands for an argument; raises `FollowingError` for what a refused operator would have made."""
        argument = self.arguments[position]
        value = self.values[argument] if isinstance(argument, fx.Node) else argument
        if isinstance(value, RefusedValue):
            raise FollowingError(str(self.node.target))
        return value

    def tensor(self, position: int) -> str:
        """The name of the tensor argument; a constant or number becomes a `Constant` operator."""
        argument = self.arguments[position]
        value = self.values[argument] if isinstance(argument, fx.Node) else argument
        return self._named(value, position)

    def constant(self, position: int, value: Tensor | float) -> str:
        """The name of a new constant, one value for all or one per channel, numbered like an argument."""
        return self._named(value, position)

    @property
    def in_channels(self) -> int:
        """The channels of the first argument."""
        source = self.node.args[0]
        assert isinstance(source, fx.Node)
        return int(source.meta["val"].shape[1])

    def tensors(self, position: int) -> tuple[str, ...]:
        """The names of a list of tensors."""
        arguments = self.arguments[position]
        assert isinstance(arguments, (list, tuple))
        return tuple(self._named(self.values[a], i) for i, a in enumerate(arguments))

    def weights(self, position: int) -> Tensor | None:
        """A parameter in float64, None where the argument is None."""
        value = self.value(position)
        if value is None:
            return None
        if not isinstance(value, Tensor):
            raise self.fail("its weights are computed from the image; only constant weights can be exported")
        return value.double()

    def integers(self, position: int) -> tuple[int, int]:
        """A pair of integers."""
        values = self.arguments[position]
        assert isinstance(values, (list, tuple))
        return (int(values[0]), int(values[-1]))

    def number(self, position: int, default: float) -> float:
        """A number, `default` where the argument is None."""
        value = self.arguments[position]
        if value is None:
            return default
        if isinstance(value, fx.Node):
            self.value(position)
        if not isinstance(value, (int, float)):
            raise self.fail(f"argument {position} is computed; only constants can be exported")
        return value

    def _named(self, value: object, position: int) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, RefusedValue):
            return REFUSED_NAME
        if isinstance(value, (int, float)):
            value = torch.tensor([value], dtype=torch.float64)  # as float32, 0.1 would already be rounded
        if not isinstance(value, Tensor):
            raise self.fail("it reads an image size or a list")
        if value.ndim > 4 or value.numel() not in (1, value.shape[-3] if value.ndim >= 3 else 1):
            raise self.fail(f"a constant of shape {tuple(value.shape)}; only one value per channel can be exported")
        return self.add(Constant(name=f"{self.name}.constant_{position}", inputs=(), value=value.double().flatten()))


Handler = Callable[[NodeReader], object]


def _convolution(reader: NodeReader) -> str:
    x, weight, bias = reader.tensor(0), reader.weights(1), reader.weights(2)
    assert weight is not None
    if reader.arguments[6]:
        raise reader.fail("transposed convolution; use a convolution followed by PixelShuffle")
    stride, padding, dilation = (reader.integers(i) for i in (3, 4, 5))
    groups = reader.number(8, 1)
    if groups > 1 and weight.shape[1] == 1:
        return reader.add(
            DepthwiseConv2d(
                name=reader.name, inputs=(x,), weight=weight, bias=bias,
                stride=stride, padding=padding, dilation=dilation, channels=int(groups),
            )
        )  # fmt: skip
    return reader.add(
        Conv2d(
            name=reader.name, inputs=(x,), weight=weight, bias=bias,
            stride=stride, padding=padding, dilation=dilation, groups=int(groups),
        )
    )  # fmt: skip


def _unary(kind: type[Unary]) -> Handler:
    def read(reader: NodeReader) -> str:
        return reader.add(kind(name=reader.name, inputs=(reader.tensor(0),)))

    return read


def _binary(kind: type[Binary]) -> Handler:
    def read(reader: NodeReader) -> str:
        x, y = reader.tensor(0), reader.tensor(1)
        if kind is not Mul and (alpha := reader.number(2, 1)) != 1:
            y = reader.add(Mul(name=f"{reader.name}.alpha", inputs=(y, reader.constant(2, alpha))))
        return reader.add(kind(name=reader.name, inputs=(x, y)))

    return read


def _divide(reader: NodeReader) -> str:
    value = reader.value(1)
    if isinstance(value, (int, float)):
        value = torch.tensor(value, dtype=torch.float64)
    if not isinstance(value, Tensor):
        raise reader.fail("division by a computed tensor; only division by constants can be exported")
    factor = reader.constant(1, 1.0 / value.double())
    return reader.add(Mul(name=reader.name, inputs=(reader.tensor(0), factor)))


def _negate(reader: NodeReader) -> str:
    return reader.add(Mul(name=reader.name, inputs=(reader.tensor(0), reader.constant(1, -1.0))))


def _power(reader: NodeReader) -> str:
    if reader.number(1, 1) != 2:
        raise reader.fail(f"the power {reader.arguments[1]}; only the square is known, write others as products")
    x = reader.tensor(0)
    return reader.add(Mul(name=reader.name, inputs=(x, x)))


def _batch_norm(reader: NodeReader) -> tuple[object, ...]:
    """In eval mode: (x - mean) / sqrt(variance + eps) * weight + bias, a product and a sum with constants."""
    weight, bias, mean, variance = (reader.weights(i) for i in (1, 2, 3, 4))
    assert mean is not None and variance is not None
    factor = (variance + reader.number(6, 1e-5)).rsqrt() * (1.0 if weight is None else weight)
    shift = -mean * factor + (0.0 if bias is None else bias)
    scaled = reader.add(
        Mul(name=f"{reader.name}.scale", inputs=(reader.tensor(0), reader.constant(1, factor.reshape(-1, 1, 1))))
    )
    shifted = Add(name=reader.name, inputs=(scaled, reader.constant(2, shift.reshape(-1, 1, 1))))
    return (reader.add(shifted), OpaqueValue(), OpaqueValue())


def _prelu(reader: NodeReader) -> str:
    """With slopes a by channel, a x + (1 - a) max(x, 0); with one slope for all, LeakyRelu."""
    slopes, x = reader.weights(1), reader.tensor(0)
    assert slopes is not None
    slopes = slopes.flatten()
    if bool((slopes == slopes[0]).all()):
        return reader.add(LeakyRelu(name=reader.name, inputs=(x,), slope=slopes[0].item()))
    slopes = slopes.reshape(-1, 1, 1)
    positive = reader.add(Relu(name=f"{reader.name}.relu", inputs=(x,)))
    bent = reader.add(Mul(name=f"{reader.name}.bent", inputs=(positive, reader.constant(0, 1 - slopes))))
    line = reader.add(Mul(name=f"{reader.name}.line", inputs=(x, reader.constant(1, slopes))))
    return reader.add(Add(name=reader.name, inputs=(line, bent)))


def _average_pool(reader: NodeReader) -> str:
    """A depthwise convolution whose weights are all 1 / (kh kw)."""
    kernel, padding = reader.integers(1), reader.integers(3)
    stride = reader.integers(2) if reader.arguments[2] else kernel
    if reader.arguments[4] or reader.arguments[6] is not None or (any(padding) and not reader.arguments[5]):
        raise reader.fail("ceil_mode, divisor_override or padding that is not counted; leave them at their defaults")
    channels = reader.in_channels
    weight = torch.full((channels, 1, *kernel), 1 / (kernel[0] * kernel[1]), dtype=torch.float64)
    pool = DepthwiseConv2d(
        name=reader.name, inputs=(reader.tensor(0),), weight=weight, stride=stride, padding=padding, channels=channels
    )
    return reader.add(pool)


def _leaky_relu(reader: NodeReader) -> str:
    return reader.add(LeakyRelu(name=reader.name, inputs=(reader.tensor(0),), slope=reader.number(1, 0.01)))


def _clip(reader: NodeReader) -> str:
    x, low, high = reader.tensor(0), reader.number(1, -torch.inf), reader.number(2, torch.inf)
    if (low, high) == (0, torch.inf):
        return reader.add(Relu(name=reader.name, inputs=(x,)))
    if (low, high) == (0, 6):
        return reader.add(Relu6(name=reader.name, inputs=(x,)))
    return reader.add(Clip(name=reader.name, inputs=(x,), low=low, high=high))


def _concat(reader: NodeReader) -> str:
    if reader.number(1, 0) not in (1, -3):
        raise reader.fail(f"joins axis {reader.arguments[1]}; only channels (axis 1) can be joined")
    return reader.add(Concat(name=reader.name, inputs=reader.tensors(0)))


def _pixel_shuffle(reader: NodeReader) -> str:
    block = int(reader.number(1, 1))
    return reader.add(DepthToSpace(name=reader.name, inputs=(reader.tensor(0),), block=block))


def _resize_nearest(reader: NodeReader) -> str:
    factors = reader.arguments[2]
    if not isinstance(factors, (list, tuple)) or len(set(factors)) != 1 or factors[0] != int(factors[0]):
        raise reader.fail("only a whole scale_factor, the same for both axes, can be exported; a fixed size cannot")
    return reader.add(ResizeNearest(name=reader.name, inputs=(reader.tensor(0),), factor=int(factors[0])))


def _max_pool(reader: NodeReader) -> tuple[str, OpaqueValue]:
    """The values; their indices are of no use to images."""
    window, padding, dilation = reader.integers(1), reader.integers(3), reader.integers(4)
    stride = reader.integers(2) if reader.arguments[2] else window
    if len({*window, *stride}) != 1 or any(padding) or set(dilation) != {1} or reader.arguments[5]:
        raise reader.fail("only square windows side by side can be exported, without padding, dilation or ceil_mode")
    pool = MaxPool(name=reader.name, inputs=(reader.tensor(0),), window=window[0])
    return reader.add(pool), OpaqueValue()


def _split(reader: NodeReader) -> tuple[str, ...]:
    sizes = reader.arguments[1]
    assert isinstance(sizes, (list, tuple))
    if reader.number(2, 0) not in (1, -3):
        raise reader.fail(f"splits axis {reader.arguments[2]}; only channels (axis 1) can be split")
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    x = reader.tensor(0)
    return tuple(
        reader.add(Slice(name=f"{reader.name}.part_{i}", inputs=(x,), start=end - size, stop=end))
        for i, (end, size) in enumerate(zip(ends, sizes, strict=True))
    )


def _slice(reader: NodeReader) -> str:
    _, axis, _, _, step = reader.arguments
    if axis not in (1, -3) or step != 1:
        raise reader.fail(f"takes axis {axis} in steps of {step}; only runs of channels (axis 1, step 1) can be taken")
    bounds = slice(*(None if reader.arguments[i] is None else int(reader.number(i, 0)) for i in (2, 3)))
    first, last, _ = bounds.indices(reader.in_channels)
    return reader.add(Slice(name=reader.name, inputs=(reader.tensor(0),), start=first, stop=last))


HANDLERS: dict[str, Handler] = {
    "aten.convolution.default": _convolution,
    "aten.relu.default": _unary(Relu),
    "aten.sigmoid.default": _unary(Sigmoid),
    "aten.tanh.default": _unary(Tanh),
    "aten.hardswish.default": _unary(HardSwish),
    "aten.leaky_relu.default": _leaky_relu,
    "aten.clamp.default": _clip,
    "aten.hardtanh.default": _clip,
    "aten.add.Tensor": _binary(Add),
    "aten.sub.Tensor": _binary(Sub),
    "aten.mul.Tensor": _binary(Mul),
    "aten.div.Tensor": _divide,
    "aten.neg.default": _negate,
    "aten.pow.Tensor_Scalar": _power,
    "aten._native_batch_norm_legit_no_training.default": _batch_norm,
    "aten.prelu.default": _prelu,
    "aten.avg_pool2d.default": _average_pool,
    "aten.cat.default": _concat,
    "aten.pixel_shuffle.default": _pixel_shuffle,
    "aten.upsample_nearest2d.vec": _resize_nearest,
    "aten.max_pool2d_with_indices.default": _max_pool,
    "aten.split_with_sizes.default": _split,
    "aten.slice.Tensor": _slice,
}

ALIASES: dict[str, bool] = {
    "aten.clone.default": True,
    "aten.alias.default": True,
    "aten.detach.default": True,
    "aten.sym_size.int": False,
    "aten._assert_tensor_metadata.default": False,
    "getitem": True,
    "mul": False,
    "add": False,
    "sub": False,
    "floordiv": False,
}
"""Nodes that compute nothing of the image: True hands their input on, False is arithmetic on sizes or a check."""
