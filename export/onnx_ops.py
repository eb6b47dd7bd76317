"""How each operator of the graph is written in ONNX: one literal table from operator to emitter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from edgesr.artifact import INT8_ZERO, INT16_ZERO
from edgesr.errors import ExportError
from edgesr.graph import Graph
from edgesr.ops import (
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
    Sigmoid,
    Slice,
    Sub,
    Tanh,
)
from edgesr.quantized import WIDE_BITS, QuantizedGraph, float_graph
from edgesr.target import Precision


class Emission:
    """The nodes and initializers as they are written.

    `values` maps a graph tensor to the ONNX value that holds its reals, `integers` to the one with its integers.
    """

    def __init__(self, network: Graph | QuantizedGraph, precision: Precision) -> None:
        self.quantized = network if isinstance(network, QuantizedGraph) else None
        self.graph = float_graph(network)
        self.precision = precision
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.values: dict[str, str] = {}
        self.integers: dict[str, str] = {}

    @property
    def has_wide_tensors(self) -> bool:
        """Whether any tensor has 16 bits."""
        return self.quantized is not None and bool(self.quantized.wide_tensors)

    def is_wide(self, tensor: str) -> bool:
        """Whether a tensor has 16 bits."""
        return self.quantized is not None and self.quantized.bits(tensor) == WIDE_BITS

    def unsigned(self, tensor: str) -> tuple[int, type[np.uint8 | np.uint16]]:
        """What to add to a tensor's integers, and the type that then holds them."""
        return (INT16_ZERO, np.uint16) if self.is_wide(tensor) else (INT8_ZERO, np.uint8)

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node with one output and return the output's name."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def initializer(self, name: str, data: np.ndarray) -> str:
        """Store an array as it is."""
        self.initializers.append(numpy_helper.from_array(np.array(data, order="C"), name))
        return name

    def parameter(self, name: str, value: torch.Tensor) -> str:
        """Store float64 parameters in the graph's precision."""
        dtype = np.float16 if self.precision is Precision.FP16 else np.float32
        return self.initializer(name, value.numpy().astype(dtype))

    def inputs(self, op: Op) -> list[str]:
        """The ONNX values that an operator reads."""
        return [self.values[name] for name in op.inputs]

    def result(self, op: Op, value: str) -> None:
        """Record what an operator made; in an INT8 graph, quantized and dequantized."""
        if self.quantized is None:
            self.values[op.name] = value
            return
        self.integers[op.name] = self.quantize(value, op.name, op.name)
        self.values[op.name] = self.dequantize(op.name, op.name)

    def real_name(self, op: Op) -> str:
        """The name for an operator's real-valued result."""
        return op.name if self.quantized is None else f"{op.name}.real"

    def quantize(self, value: str, tensor: str, output: str, signed: bool = False) -> str:
        """A QuantizeLinear with the parameters of a graph tensor."""
        return self.node("QuantizeLinear", [value, *self._parameters(tensor, signed)], output)

    def dequantize(self, value: str, tensor: str, output: str | None = None, signed: bool = False) -> str:
        """A DequantizeLinear with the parameters of a graph tensor."""
        return self.node(
            "DequantizeLinear", [value, *self._parameters(tensor, signed)], output or f"{tensor}.dequantized"
        )

    def drop_dequantize(self, tensor: str) -> None:
        """Take back the DequantizeLinear behind the graph's output, which nobody reads."""
        self.nodes = [node for node in self.nodes if node.output[0] != self.values[tensor]]

    def rename(self, value: str, name: str) -> None:
        """Give the value that a node makes another name."""
        for node in self.nodes:
            node.input[:] = [name if x == value else x for x in node.input]
            node.output[:] = [name if x == value else x for x in node.output]

    def _parameters(self, tensor: str, signed: bool) -> list[str]:
        assert self.quantized is not None
        params = self.quantized.activations[tensor]
        scale, zero_point = f"{tensor}.scale", f"{tensor}.{'signed_' if signed else ''}zero_point"
        offset, dtype = (0, np.int8) if signed else self.unsigned(tensor)
        for name, value in (
            (scale, np.array(params.scale, np.float32)),
            (zero_point, np.array(params.zero_point + offset, dtype)),
        ):
            if not any(x.name == name for x in self.initializers):
                self.initializer(name, value)
        return [scale, zero_point]


Emitter = Callable[[Emission, Op], None]


def _activated(
    emission: Emission, op: Convolution | Binary, kind: str, inputs: Sequence[str], **attributes: Any
) -> None:
    """The operator's node, and its fused activation as a node behind it.

    In 16 bits both are QDQ operators of their own: the Qualcomm NPU refuses a Relu between a convolution and a
    QuantizeLinear whose zero point is not its lowest integer. On one grid that is exact: rounding keeps the order.
    """
    name = emission.real_name(op)
    if op.activation is Activation.NONE:
        emission.result(op, emission.node(kind, inputs, name, **attributes))
        return
    bare = emission.node(kind, inputs, f"{op.name}.before_activation", **attributes)
    if emission.is_wide(op.name):
        integers = emission.quantize(bare, op.name, f"{bare}.integers")
        bare = emission.dequantize(integers, op.name, f"{integers}.dequantized")
    if op.activation is Activation.RELU:
        emission.result(op, emission.node("Relu", [bare], name))
    else:
        emission.result(op, emission.node("Clip", [bare, *_bounds(emission, op, 0.0, 6.0)], name))


def _convolution(emission: Emission, op: Op) -> None:
    assert isinstance(op, Convolution)
    parameters = _quantized_parameters(emission, op) if emission.quantized else _float_parameters(emission, op)
    (top, left) = op.padding
    _activated(
        emission, op, "Conv", [emission.values[op.inputs[0]], *parameters],
        kernel_shape=list(op.kernel), strides=list(op.stride), pads=[top, left, top, left],
        dilations=list(op.dilation), group=op.group_count,
    )  # fmt: skip


def _float_parameters(emission: Emission, op: Convolution) -> list[str]:
    weight = emission.parameter(f"{op.name}.weight", op.weight)
    return [weight] if op.bias is None else [weight, emission.parameter(f"{op.name}.bias", op.bias)]


def _quantized_parameters(emission: Emission, op: Convolution) -> list[str]:
    assert emission.quantized is not None
    w = emission.quantized.weights[op.name]
    name, input_scale = op.name, emission.quantized.activations[op.inputs[0]].scale
    scales = emission.initializer(f"{name}.weight.scale", w.scales.numpy().astype(np.float32))
    zeros = emission.initializer(f"{name}.weight.zero_point", np.zeros(len(w.scales), np.int8))
    weight = emission.initializer(f"{name}.weight", w.values.numpy())
    real_weight = emission.node("DequantizeLinear", [weight, scales, zeros], f"{name}.weight.dequantized", axis=0)
    if not bool(w.bias.any()):
        return [real_weight]
    bias_scales = emission.initializer(f"{name}.bias.scale", (w.scales.numpy() * input_scale).astype(np.float32))
    bias_zeros = emission.initializer(f"{name}.bias.zero_point", np.zeros(len(w.scales), np.int32))
    bias = emission.initializer(f"{name}.bias", w.bias.numpy())
    return [
        real_weight,
        emission.node("DequantizeLinear", [bias, bias_scales, bias_zeros], f"{name}.bias.dequantized", axis=0),
    ]


def _binary(kind: str) -> Emitter:
    def emit(emission: Emission, op: Op) -> None:
        assert isinstance(op, Binary)
        _activated(emission, op, kind, emission.inputs(op))

    return emit


def _constant(emission: Emission, op: Op) -> None:
    assert isinstance(op, Constant)
    value = op.value.reshape(1, -1, 1, 1)
    if emission.quantized is None:
        emission.values[op.name] = emission.parameter(op.name, value)
        return
    offset, dtype = emission.unsigned(op.name)
    integers = emission.quantized.activations[op.name].quantize(value).numpy() + offset
    emission.initializer(op.name, integers.astype(dtype))
    emission.values[op.name] = emission.dequantize(op.name, op.name)


def _plain(kind: str) -> Emitter:
    def emit(emission: Emission, op: Op) -> None:
        emission.result(op, emission.node(kind, emission.inputs(op), emission.real_name(op)))

    return emit


def _concat(emission: Emission, op: Op) -> None:
    emission.result(op, emission.node("Concat", emission.inputs(op), emission.real_name(op), axis=1))


def _leaky_relu(emission: Emission, op: Op) -> None:
    assert isinstance(op, LeakyRelu)
    emission.result(op, emission.node("LeakyRelu", emission.inputs(op), emission.real_name(op), alpha=op.slope))


def _bounds(emission: Emission, op: Op, low: float, high: float) -> list[str]:
    return [
        emission.parameter(f"{op.name}.low", torch.tensor(low, dtype=torch.float64)),
        emission.parameter(f"{op.name}.high", torch.tensor(high, dtype=torch.float64)),
    ]


def _requantize(emission: Emission, op: Op) -> None:
    if emission.quantized is None:
        raise ExportError(f"Requantize '{op.name}' in a float graph; it stands between integers of two widths alone")
    (source,) = op.inputs
    value = emission.values[source]
    params = emission.quantized.activations[source]
    if source == emission.graph.input.name and params.zero_point == params.lowest:
        value = _held_apart(emission, op, value)
    emission.result(op, value)


def _held_apart(emission: Emission, op: Op, value: str) -> str:
    """An image of 16 bits and a Relu, which changes nothing of values that are never negative.

    Without it Qualcomm's HTP (QNN 2.51, its emulator) takes the conversion into the convolution behind it, and pads
    that with another value than zero: the outermost pixels are wrong by up to 40 bytes.
    """
    integers = emission.quantize(value, op.name, f"{op.name}.before_activation.integers")
    return emission.node("Relu", [emission.dequantize(integers, op.name, f"{integers}.dequantized")], f"{op.name}.real")


def _relu6(emission: Emission, op: Op) -> None:
    inputs = [*emission.inputs(op), *_bounds(emission, op, 0.0, 6.0)]
    emission.result(op, emission.node("Clip", inputs, emission.real_name(op)))


def _clip(emission: Emission, op: Op) -> None:
    assert isinstance(op, Clip)
    if emission.quantized is not None:
        raise ExportError(f"Clip '{op.name}' inside an INT8 graph; a clip of the output image is folded away before")
    inputs = [*emission.inputs(op), *_bounds(emission, op, op.low, op.high)]
    emission.result(op, emission.node("Clip", inputs, emission.real_name(op)))


def _depth_to_space(emission: Emission, op: Op) -> None:
    assert isinstance(op, DepthToSpace)
    inputs, name = emission.inputs(op), emission.real_name(op)
    emission.result(op, emission.node("DepthToSpace", inputs, name, blocksize=op.block, mode=op.order.value.upper()))


def _resize_nearest(emission: Emission, op: Op) -> None:
    assert isinstance(op, ResizeNearest)
    scales = emission.initializer(f"{op.name}.scales", np.array([1, 1, op.factor, op.factor], np.float32))
    name = emission.node(
        "Resize", [*emission.inputs(op), "", scales], emission.real_name(op),
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    emission.result(op, name)


def _max_pool(emission: Emission, op: Op) -> None:
    assert isinstance(op, MaxPool)
    window = [op.window, op.window]
    name = emission.node(
        "MaxPool", emission.inputs(op), emission.real_name(op), kernel_shape=window, strides=window
    )  # fmt: skip
    emission.result(op, name)


def _slice(emission: Emission, op: Op) -> None:
    assert isinstance(op, Slice)
    bounds = [("starts", op.start), ("ends", op.stop), ("axes", 1)]
    names = [emission.initializer(f"{op.name}.{key}", np.array([value], np.int64)) for key, value in bounds]
    emission.result(op, emission.node("Slice", [*emission.inputs(op), *names], emission.real_name(op)))


EMITTERS: dict[type[Op], Emitter] = {
    Conv2d: _convolution,
    DepthwiseConv2d: _convolution,
    Add: _binary("Add"),
    Sub: _binary("Sub"),
    Mul: _binary("Mul"),
    Concat: _concat,
    Constant: _constant,
    Relu: _plain("Relu"),
    Relu6: _relu6,
    LeakyRelu: _leaky_relu,
    Sigmoid: _plain("Sigmoid"),
    Tanh: _plain("Tanh"),
    HardSwish: _plain("HardSwish"),
    Clip: _clip,
    DepthToSpace: _depth_to_space,
    ResizeNearest: _resize_nearest,
    MaxPool: _max_pool,
    Slice: _slice,
    Requantize: _requantize,
}
