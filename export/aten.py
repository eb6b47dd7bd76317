"""How each core-ATen operator reads as an operator of the graph: one literal table.

A handler gets a `NodeReader` and returns the name of the tensor it made (or a tuple of names). Attributes outside the
vocabulary raise `UnsupportedOpError`, naming the operator and the attribute.
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
        """The error that names this operator and says why it cannot be read."""
        return UnsupportedOpError(f"{self.node.target} at '{self.name}': {why}")

    def tensor(self, position: int) -> str:
        """The name of the tensor argument; a constant or number becomes a `Constant` operator."""
        argument = self.arguments[position]
        value = self.values[argument] if isinstance(argument, fx.Node) else argument
        return self._named(value, position)

    def tensors(self, position: int) -> tuple[str, ...]:
        """The names of a list of tensors."""
        arguments = self.arguments[position]
        assert isinstance(arguments, (list, tuple))
        return tuple(self._named(self.values[a], i) for i, a in enumerate(arguments))

    def weights(self, position: int) -> Tensor | None:
        """A parameter in float64, None where the argument is None."""
        argument = self.arguments[position]
        value = self.values[argument] if isinstance(argument, fx.Node) else argument
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
        if not isinstance(value, (int, float)):
            raise self.fail(f"argument {position} is computed; only constants can be exported")
        return value

    def _named(self, value: object, position: int) -> str:
        if isinstance(value, str):
            return value
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
        if kind is not Mul and reader.number(2, 1) != 1:
            raise reader.fail(f"alpha is {reader.arguments[2]}; write the factor as a multiplication")
        return reader.add(kind(name=reader.name, inputs=(reader.tensor(0), reader.tensor(1))))

    return read


def _divide(reader: NodeReader) -> str:
    divisor = reader.arguments[1]
    value = reader.values[divisor] if isinstance(divisor, fx.Node) else torch.tensor(divisor, dtype=torch.float64)
    if not isinstance(value, Tensor):
        raise reader.fail("division by a computed tensor; only division by constants can be exported")
    factor = reader._named(1.0 / value.double(), 1)
    return reader.add(Mul(name=reader.name, inputs=(reader.tensor(0), factor)))


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
    source = reader.node.args[0]
    assert isinstance(source, fx.Node)
    bounds = slice(*(None if reader.arguments[i] is None else int(reader.number(i, 0)) for i in (2, 3)))
    first, last, _ = bounds.indices(source.meta["val"].shape[1])
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
    "aten.cat.default": _concat,
    "aten.pixel_shuffle.default": _pixel_shuffle,
    "aten.upsample_nearest2d.vec": _resize_nearest,
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
