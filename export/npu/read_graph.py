"""The operators of a graph as a plain converter would write them in TFLite with 8-bit activations, without a file.

What edgesr's emitter refuses, because a fold is due before, is written as other converters do it: PyTorch's
PixelShuffle as RESHAPE, TRANSPOSE and RESHAPE of rank 6, groups as they are. With `host_tail`, a DEPTH_TO_SPACE at the
end is left to the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from edgesr.export.npu.file_operator import Attributes, DType, FileOperator, FileTensor, OperatorList
from edgesr.graph import Graph
from edgesr.ops import (
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

KINDS: dict[type[Op], str] = {
    Conv2d: "CONV_2D",
    DepthwiseConv2d: "DEPTHWISE_CONV_2D",
    Add: "ADD",
    Sub: "SUB",
    Mul: "MUL",
    Concat: "CONCATENATION",
    Relu: "RELU",
    Relu6: "RELU6",
    LeakyRelu: "LEAKY_RELU",
    Sigmoid: "LOGISTIC",
    Tanh: "TANH",
    HardSwish: "HARD_SWISH",
    DepthToSpace: "DEPTH_TO_SPACE",
    ResizeNearest: "RESIZE_NEAREST_NEIGHBOR",
    MaxPool: "MAX_POOL_2D",
    Slice: "STRIDED_SLICE",
    Requantize: "QUANTIZE",
}
"""The operators that are one operator in TFLite; a Clip is MAXIMUM and MINIMUM, a Constant a tensor."""
DEFAULT_SIZE = (128, 128)
TO_NHWC = (0, 2, 3, 1)


def read_graph(
    graph: Graph, origin: str, size: tuple[int, int] = DEFAULT_SIZE, host_tail: bool = False
) -> OperatorList:
    """The operators of a graph for an input size."""
    reader = _Reader(graph, size)
    ops = [op for op in graph if not isinstance(op, Constant)]
    if host_tail and isinstance(ops[-1], DepthToSpace) and len(ops) > 1:
        ops = ops[:-1]
    operators = tuple(operator for op in ops for operator in reader.operators(op))
    notes = ("the shuffle at the end is left to the host",) if host_tail else ()
    return OperatorList(origin, None, operators, (reader.tensor(graph.input.name),), None, notes)


class _Reader:
    """One graph at one size."""

    def __init__(self, graph: Graph, size: tuple[int, int]) -> None:
        self.graph = graph
        multiple = graph.size_multiple
        height, width = (max(1, n // multiple) * multiple for n in size)
        values = graph.trace(torch.empty(1, graph.input.channels, height, width, device="meta"))
        self.shapes = {name: tuple(value.shape[axis] for axis in TO_NHWC) for name, value in values.items()}

    def tensor(self, name: str) -> FileTensor:
        """A tensor of the graph."""
        return FileTensor(name, self.shapes[name], DType.INT8, self.graph.specs[name].scale is None, True)

    def operators(self, op: Op) -> Iterator[FileOperator]:
        """What a converter writes for one operator."""
        inputs, output = tuple(self.tensor(x) for x in op.inputs), self.tensor(op.name)
        if isinstance(op, Clip):
            yield from self._clip(op, inputs, output)
        elif isinstance(op, DepthToSpace) and op.order is ShuffleOrder.CRD:
            yield from self._shuffle(op, inputs[0], output)
        else:
            yield _operator(op.name, KINDS[type(op)], inputs, output, _attributes(op, inputs[0], output))

    def _clip(self, op: Clip, inputs: tuple[FileTensor, ...], output: FileTensor) -> Iterator[FileOperator]:
        known = _attributes(op, inputs[0], output)
        middle = replace(output, name=f"{op.name}.part")
        yield _operator(middle.name, "MAXIMUM", inputs, middle, known)
        yield _operator(op.name, "MINIMUM", (middle,), output, known)

    def _shuffle(self, op: DepthToSpace, source: FileTensor, output: FileTensor) -> Iterator[FileOperator]:
        _, height, width, channels = source.shape
        split = (1, height, width, channels // op.block**2, op.block, op.block)
        parts = replace(source, name=f"{op.name}.split", shape=split)
        permutation = (0, 1, 4, 2, 5, 3)
        turned = replace(parts, name=f"{op.name}.turned", shape=tuple(split[axis] for axis in permutation))
        yield _operator(parts.name, "RESHAPE", (source,), parts, Attributes(activation="NONE"))
        yield _operator(turned.name, "TRANSPOSE", (parts,), turned, Attributes(permutation=permutation))
        yield _operator(op.name, "RESHAPE", (turned,), output, Attributes(activation="NONE"))


def _operator(
    name: str, kind: str, inputs: Sequence[FileTensor], output: FileTensor, attributes: Attributes
) -> FileOperator:
    return FileOperator(name, kind, kind, DType.INT8, tuple(inputs), (output,), attributes)


def _attributes(op: Op, source: FileTensor, output: FileTensor) -> Attributes:
    known = Attributes(
        input_hw=(source.shape[1], source.shape[2]), output_hw=(output.shape[1], output.shape[2]), batch=1,
        in_channels=source.shape[3], out_channels=output.shape[3], activation="NONE",
    )  # fmt: skip
    if isinstance(op, (Convolution, Binary)):
        known = replace(known, activation=op.activation.value.upper())
    if isinstance(op, Convolution):
        known = replace(
            known, kernel=op.kernel, stride=op.stride, dilation=op.dilation, groups=op.group_count, has_bias=True,
            padding="SAME" if op.is_same else "VALID", bias_dtype=DType.INT32, weight_rank=4,
            depth_multiplier=op.multiplier if isinstance(op, DepthwiseConv2d) else None,
        )  # fmt: skip
    if isinstance(op, DepthToSpace):
        known = replace(known, block=op.block)
    if isinstance(op, ResizeNearest):
        known = replace(known, mode="nearest", align_corners=False, half_pixel_centers=False)
    if isinstance(op, MaxPool):
        known = replace(known, kernel=(op.window,) * 2, stride=(op.window,) * 2, padding="VALID")
    if isinstance(op, Slice):
        known = replace(known, strides=(1, 1, 1, 1), ellipsis_mask=0, offset=False)
    return known
