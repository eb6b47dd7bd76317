"""How each operator of the graph is written in TFLite: one literal table from operator to emitter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema

from edgesr.errors import ExportError, first_line
from edgesr.export.tflite_builder import Quantization, SubgraphBuilder
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
    ShuffleOrder,
    Sigmoid,
    Slice,
    Sub,
    Tanh,
)
from edgesr.quantized import IMAGE_GRID, WIDE_BITS, QuantizedGraph, QuantParams, float_graph
from edgesr.sixteen_bits import FORMAT_REFUSALS
from edgesr.target import Format, IODtype, Precision

Builtin, Options = schema.BuiltinOperator, schema.BuiltinOptions

ONLY_8_BITS = -1
"""In place of an operator's version for int16: LiteRT has no such kernel, or not on the graph's grids."""
Versions = tuple[int, int, int]
"""An operator's version for float, int8 and int16 activations."""

SIGMOID_GRID = QuantParams(1 / 256, -128)
"""What LOGISTIC's int8 kernels write; the reference kernels refuse to load any other."""

FUSED_ACTIVATIONS = {
    Activation.NONE: schema.ActivationFunctionType.NONE,
    Activation.RELU: schema.ActivationFunctionType.RELU,
    Activation.RELU6: schema.ActivationFunctionType.RELU6,
}


class Emission:
    """One subgraph as it is written: the network, its size, and the tensor index of each graph tensor."""

    def __init__(
        self, subgraph: SubgraphBuilder, network: Graph | QuantizedGraph, precision: Precision, size: tuple[int, int]
    ) -> None:
        self.subgraph = subgraph
        self.quantized = network if isinstance(network, QuantizedGraph) else None
        self.graph = float_graph(network)
        self.precision = precision
        self.shapes = _shapes(self.graph, size)
        self.index: dict[str, int] = {}

    def activation(self, name: str) -> int:
        """A new tensor for a graph tensor, under its name."""
        self.index[name] = self.subgraph.tensor(name, self.shapes[name], self.dtype(name), self.quantization(name))
        return self.index[name]

    def scratch(self, name: str, like: str, shape: Sequence[int] | None = None) -> int:
        """A new tensor that is no tensor of the graph, quantized like one that is."""
        return self.subgraph.tensor(name, shape or self.shapes[like], self.dtype(like), self.quantization(like))

    def image_tensor(self, like: str, io: IODtype) -> int:
        """An image at the edge of an INT8 graph, in the type that the user asked for."""
        grid = None if io is IODtype.FLOAT32 else Quantization((IMAGE_GRID.scale,), (0,))
        return self.subgraph.tensor(f"{like}.{io.value}", self.shapes[like], io.value, grid)

    def dtype(self, name: str) -> str:
        """The type of a graph tensor."""
        return f"int{self.quantized.bits(name)}" if self.quantized else "float32"

    def is_wide(self, name: str) -> bool:
        """Whether a graph tensor has 16 bits."""
        return self.quantized is not None and self.quantized.bits(name) == WIDE_BITS

    def version(self, versions: Versions, op: Op) -> int:
        """The version for an operator's activations; raises `ExportError` where there is no int16 kernel."""
        if not self.is_wide(op.name):
            return versions[bool(self.quantized)]
        if versions[2] == ONLY_8_BITS:
            why = FORMAT_REFUSALS[Format.TFLITE][type(op)]
            raise ExportError(f"{type(op).__name__} '{op.name}' has 16-bit activations: {why}; requantize before it")
        return versions[2]

    def quantization(self, name: str) -> Quantization | None:
        """How a graph tensor is quantized."""
        if self.quantized is None:
            return None
        params = self.quantized.activations[name]
        return Quantization((params.scale,), (params.zero_point,))

    def inputs(self, op: Op) -> list[int]:
        """The tensor indices that an operator reads."""
        return [self.index[name] for name in op.inputs]

    def require_grid(self, op: Op, wanted: QuantParams, why: str) -> None:
        """Raise `ExportError` where a quantized operator's output has other parameters than its kernel writes."""
        if self.quantized is not None and self.quantized.activations[op.name] != wanted:
            found = self.quantized.activations[op.name]
            raise ExportError(
                f"{type(op).__name__} '{op.name}' is quantized to scale {found.scale:.6g}, zero point "
                f"{found.zero_point}; TFLite {why}: scale {wanted.scale:.6g}, zero point {wanted.zero_point}"
            )

    def require_shared_grid(self, op: Op) -> None:
        """Raise `ExportError` where a quantized operator that only moves integers would have to rescale them."""
        if self.quantized is not None:
            for name in op.inputs:
                self.require_grid(op, self.quantized.activations[name], f"moves the integers of '{name}' unchanged")

    def add(self, builtin: int, versions: Versions, op: Op, options: object | None, options_type: int) -> None:
        """An operator with the graph operator's own inputs and output."""
        version, inputs = self.version(versions, op), self.inputs(op)
        outputs = [self.activation(op.name)]
        self.subgraph.operator(builtin, version, inputs, outputs, options, options_type)

    def weight(self, name: str, value: torch.Tensor) -> int:
        """A float constant, stored as float16 behind a DEQUANTIZE where the precision says so."""
        data = value.numpy().astype(np.float32)
        if self.precision is not Precision.FP16:
            return self.subgraph.constant(name, data)
        half = self.subgraph.constant(f"{name}.fp16", data.astype(np.float16))
        full = self.subgraph.tensor(name, data.shape, "float32")
        self.subgraph.operator(
            Builtin.DEQUANTIZE, 3, [half], [full], schema.DequantizeOptionsT(), Options.DequantizeOptions
        )
        return full


def _shapes(graph: Graph, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """(1, H, W, C) of every tensor for an input size; raises `ExportError` where the size does not divide."""
    divisor = math.lcm(*(spec.scale.denominator for spec in graph.specs.values() if spec.scale))
    if any(n % divisor for n in size):
        raise ExportError(f"size {size[0]}x{size[1]} is no multiple of {divisor}")
    image = torch.empty(1, graph.input.channels, *size, device="meta")
    try:
        tensors = graph.trace(image)
    except RuntimeError as error:
        raise ExportError(f"size {size[0]}x{size[1]} is too small: {first_line(error)}") from error
    return {name: (x.shape[0], x.shape[2], x.shape[3], x.shape[1]) for name, x in tensors.items()}


Emitter = Callable[[Emission, Op], None]


def _convolution(emission: Emission, op: Op) -> None:
    assert isinstance(op, Convolution)
    if isinstance(op, Conv2d) and op.groups != 1:
        raise ExportError(
            f"Conv2d '{op.name}' has {op.groups} groups; TFLite has none: run the fold densify-grouped-conv"
        )
    source = emission.index[op.inputs[0]]
    if not op.is_same and op.padding != (0, 0):
        source = _padded(emission, op)
    inputs = [source, *_weight_and_bias(emission, op)]
    outputs = [emission.activation(op.name)]
    options: schema.DepthwiseConv2DOptionsT | schema.Conv2DOptionsT
    if isinstance(op, DepthwiseConv2d):
        options, kind, code = (
            schema.DepthwiseConv2DOptionsT(),
            Options.DepthwiseConv2DOptions,
            Builtin.DEPTHWISE_CONV_2D,
        )
        options.depthMultiplier = op.multiplier
    else:
        options, kind, code = schema.Conv2DOptionsT(), Options.Conv2DOptions, Builtin.CONV_2D
    options.padding = schema.Padding.SAME if op.is_same else schema.Padding.VALID
    options.strideH, options.strideW = op.stride
    options.dilationHFactor, options.dilationWFactor = op.dilation
    options.fusedActivationFunction = FUSED_ACTIVATIONS[op.activation]
    version = emission.version((1, 3, 5) if isinstance(op, DepthwiseConv2d) else (1, 3, 4), op)
    emission.subgraph.operator(code, version, inputs, outputs, options, kind)


def _padded(emission: Emission, op: Convolution) -> int:
    """The convolution's input with explicit zeros around it: TFLite's SAME pads strided convolutions differently."""
    n, height, width, channels = emission.shapes[op.inputs[0]]
    (top, left), name = op.padding, f"{op.name}.padded"
    shape = (n, height + 2 * top, width + 2 * left, channels)
    padded = emission.scratch(name, op.inputs[0], shape)
    amounts = emission.subgraph.constant(
        f"{name}.amounts", np.array([[0, 0], [top, top], [left, left], [0, 0]], np.int32)
    )
    emission.subgraph.operator(
        Builtin.PAD,
        emission.version((1, 2, 3), op),
        [emission.index[op.inputs[0]], amounts],
        [padded],
        schema.PadOptionsT(),
        Options.PadOptions,
    )
    return padded


def _weight_and_bias(emission: Emission, op: Convolution) -> tuple[int, int]:
    depthwise = isinstance(op, DepthwiseConv2d)
    order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)  # (O, I, kh, kw) to 1HWO or OHWI
    if emission.quantized is None:
        bias = torch.zeros(op.weight.shape[0]) if op.bias is None else op.bias
        return emission.weight(f"{op.name}.weight", op.weight.permute(order)), emission.weight(f"{op.name}.bias", bias)
    w = emission.quantized.weights[op.name]
    scales = tuple(w.scales.tolist())
    zeros = (0,) * len(scales)
    input_scale = emission.quantized.activations[op.inputs[0]].scale
    weight = emission.subgraph.constant(
        f"{op.name}.weight",
        w.values.permute(order).contiguous().numpy(),
        Quantization(scales, zeros, 3 if depthwise else 0),
    )
    bias_scales = tuple(scale * input_scale for scale in scales)
    integers = w.bias.numpy().astype(np.int64 if emission.is_wide(op.name) else np.int32)
    return weight, emission.subgraph.constant(f"{op.name}.bias", integers, Quantization(bias_scales, zeros))


def _binary(builtin: int, options_type: int, make: Callable[[], object], wide_version: int) -> Emitter:
    def emit(emission: Emission, op: Op) -> None:
        assert isinstance(op, Binary)
        options = make()
        options.fusedActivationFunction = FUSED_ACTIVATIONS[op.activation]  # type: ignore[attr-defined]  # generated class
        if emission.is_wide(op.name) and isinstance(op, (Add, Sub)):
            options.potScaleInt16 = False  # type: ignore[attr-defined]  # true, its default, allows powers of two alone
        emission.add(builtin, (1, 2, wide_version), op, options, options_type)

    return emit


def _constant(emission: Emission, op: Op) -> None:
    assert isinstance(op, Constant)
    value = op.value.reshape(1, 1, 1, -1)
    if emission.quantized is None:
        emission.index[op.name] = emission.weight(op.name, value)
        return
    integers = emission.quantized.activations[op.name].quantize(value)
    integers = integers.to(torch.int16 if emission.is_wide(op.name) else torch.int8)
    emission.index[op.name] = emission.subgraph.constant(op.name, integers.numpy(), emission.quantization(op.name))


def _concat(emission: Emission, op: Op) -> None:
    emission.require_shared_grid(op)
    options = schema.ConcatenationOptionsT()
    options.axis = 3
    emission.add(Builtin.CONCATENATION, (1, 2, 3), op, options, Options.ConcatenationOptions)


def _plain(builtin: int, versions: Versions) -> Emitter:
    def emit(emission: Emission, op: Op) -> None:
        emission.add(builtin, versions, op, None, Options.NONE)

    return emit


def _leaky_relu(emission: Emission, op: Op) -> None:
    assert isinstance(op, LeakyRelu)
    options = schema.LeakyReluOptionsT()
    options.alpha = op.slope
    emission.add(Builtin.LEAKY_RELU, (1, 2, 2), op, options, Options.LeakyReluOptions)


def _sigmoid(emission: Emission, op: Op) -> None:
    if not emission.is_wide(op.name):
        emission.require_grid(op, SIGMOID_GRID, "computes it on one grid alone")
    emission.add(Builtin.LOGISTIC, (1, 2, ONLY_8_BITS), op, None, Options.NONE)


def _clip(emission: Emission, op: Op) -> None:
    assert isinstance(op, Clip)
    if emission.quantized is not None:
        raise ExportError(f"Clip '{op.name}' inside an INT8 graph; a clip of the output image is folded away before")
    bounds = [(Builtin.MAXIMUM, op.low), (Builtin.MINIMUM, op.high)]
    bounds = [(builtin, bound) for builtin, bound in bounds if np.isfinite(bound)]
    source = emission.index[op.inputs[0]]
    for position, (builtin, bound) in enumerate(bounds):
        limit = emission.subgraph.constant(f"{op.name}.bound_{position}", np.array([bound], np.float32))
        last = position == len(bounds) - 1
        result = emission.activation(op.name) if last else emission.scratch(f"{op.name}.part", op.name)
        emission.subgraph.operator(
            builtin, 1, [source, limit], [result], schema.MaximumMinimumOptionsT(), Options.MaximumMinimumOptions
        )
        source = result


def _depth_to_space(emission: Emission, op: Op) -> None:
    assert isinstance(op, DepthToSpace)
    if op.order is not ShuffleOrder.DCR:
        raise ExportError(
            f"DepthToSpace '{op.name}' has PyTorch's channel order: run the fold pixel-shuffle-to-depth-to-space"
        )
    emission.require_shared_grid(op)
    options = schema.DepthToSpaceOptionsT()
    options.blockSize = op.block
    versions = (1, 1, ONLY_8_BITS)  # int8: 2 on paper, but the reference kernels know 1 only, and run int8 under it
    emission.add(Builtin.DEPTH_TO_SPACE, versions, op, options, Options.DepthToSpaceOptions)


def _resize_nearest(emission: Emission, op: Op) -> None:
    emission.require_shared_grid(op)
    _, height, width, _ = emission.shapes[op.name]
    size = emission.subgraph.constant(f"{op.name}.size", np.array([height, width], np.int32))
    inputs, outputs = [emission.index[op.inputs[0]], size], [emission.activation(op.name)]
    emission.subgraph.operator(
        Builtin.RESIZE_NEAREST_NEIGHBOR, emission.version((1, 2, 4), op), inputs, outputs,
        schema.ResizeNearestNeighborOptionsT(), Options.ResizeNearestNeighborOptions,
    )  # fmt: skip


def _max_pool(emission: Emission, op: Op) -> None:
    assert isinstance(op, MaxPool)
    emission.require_shared_grid(op)
    options = schema.Pool2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = options.filterHeight = options.filterWidth = op.window
    emission.add(Builtin.MAX_POOL_2D, (1, 2, 3), op, options, Options.Pool2DOptions)


def _slice(emission: Emission, op: Op) -> None:
    """STRIDED_SLICE over channels alone: LiteRT's SLICE refuses to follow a resized input."""
    assert isinstance(op, Slice)
    emission.require_shared_grid(op)
    corners = (("begin", [0, 0, 0, op.start]), ("end", [0, 0, 0, op.stop]), ("strides", [1, 1, 1, 1]))
    constants = [emission.subgraph.constant(f"{op.name}.{key}", np.array(value, np.int32)) for key, value in corners]
    options = schema.StridedSliceOptionsT()
    options.beginMask = options.endMask = 0b0111  # bit i: axis i is taken whole
    inputs, outputs = [emission.index[op.inputs[0]], *constants], [emission.activation(op.name)]
    version = emission.version((1, 2, 4), op)
    emission.subgraph.operator(Builtin.STRIDED_SLICE, version, inputs, outputs, options, Options.StridedSliceOptions)


def _requantize(emission: Emission, op: Op) -> None:
    if emission.quantized is None:
        raise ExportError(f"Requantize '{op.name}' in a float graph; it stands between integers of two widths alone")
    emission.add(Builtin.QUANTIZE, (1, 2, 2), op, schema.QuantizeOptionsT(), Options.QuantizeOptions)


EMITTERS: dict[type[Op], Emitter] = {
    Conv2d: _convolution,
    DepthwiseConv2d: _convolution,
    Add: _binary(Builtin.ADD, Options.AddOptions, schema.AddOptionsT, 3),
    Sub: _binary(Builtin.SUB, Options.SubOptions, schema.SubOptionsT, 5),
    Mul: _binary(Builtin.MUL, Options.MulOptions, schema.MulOptionsT, 4),
    Concat: _concat,
    Constant: _constant,
    Relu: _plain(Builtin.RELU, (1, 2, 3)),
    Relu6: _plain(Builtin.RELU6, (1, 2, 3)),
    LeakyRelu: _leaky_relu,
    Sigmoid: _sigmoid,
    Tanh: _plain(Builtin.TANH, (1, 2, ONLY_8_BITS)),
    HardSwish: _plain(Builtin.HARD_SWISH, (1, 1, ONLY_8_BITS)),
    Clip: _clip,
    DepthToSpace: _depth_to_space,
    ResizeNearest: _resize_nearest,
    MaxPool: _max_pool,
    Slice: _slice,
    Requantize: _requantize,
}
