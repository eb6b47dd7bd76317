"""ONNX operators by the tables' TFLite names, and what the tables' rules ask about them; images are (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edgesr.export.npu.file_operator import Attributes
from edgesr.export.npu.onnx_node import Node

TABLE_KINDS: Mapping[str, str] = {
    "ConvTranspose": "TRANSPOSE_CONV",
    "Gemm": "FULLY_CONNECTED",
    "MatMul": "BATCH_MATMUL",
    "Add": "ADD",
    "Sub": "SUB",
    "Mul": "MUL",
    "Div": "DIV",
    "Concat": "CONCATENATION",
    "Split": "SPLIT",
    "Slice": "STRIDED_SLICE",
    "DepthToSpace": "DEPTH_TO_SPACE",
    "SpaceToDepth": "SPACE_TO_DEPTH",
    "Reshape": "RESHAPE",
    "Flatten": "RESHAPE",
    "Squeeze": "RESHAPE",
    "Unsqueeze": "RESHAPE",
    "Transpose": "TRANSPOSE",
    "Relu": "RELU",
    "LeakyRelu": "LEAKY_RELU",
    "PRelu": "PRELU",
    "Sigmoid": "LOGISTIC",
    "Tanh": "TANH",
    "HardSwish": "HARD_SWISH",
    "Gelu": "GELU",
    "Elu": "ELU",
    "Softmax": "SOFTMAX",
    "ReduceMean": "MEAN",
    "GlobalAveragePool": "MEAN",
    "ReduceSum": "SUM",
    "ReduceMax": "REDUCE_MAX",
    "MaxPool": "MAX_POOL_2D",
    "AveragePool": "AVERAGE_POOL_2D",
    "Min": "MINIMUM",
    "Max": "MAXIMUM",
    "Abs": "ABS",
    "Neg": "NEG",
    "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE",
    "Cast": "CAST",
    "Sqrt": "SQRT",
    "Pow": "POW",
    "Exp": "EXP",
    "Gather": "GATHER",
    "Pad": "PAD",
}
"""Conv, Clip, Resize, and Pad that mirrors, depend on their attributes; what stands nowhere is in no table."""
CLIPS: Mapping[tuple[float, float], str] = {
    (0.0, float("inf")): "RELU",
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
    (0.0, 1.0): "RELU_0_TO_1",
}


def table_kind(op_type: str) -> str:
    """The tables' name of a node type, '' for none."""
    return TABLE_KINDS.get(op_type, "")


def clip_kind(constants: Sequence[tuple[float, ...] | None]) -> str:
    """Clip by its bounds: an activation's name, else the one of MAXIMUM and MINIMUM that fewer NPUs take."""
    bounds = [constants[i] if i < len(constants) else None for i in (1, 2)]
    low = bounds[0][0] if bounds[0] else -float("inf")
    high = bounds[1][0] if bounds[1] else float("inf")
    return CLIPS.get((low, high), "MAXIMUM" if high == float("inf") else "MINIMUM")


def attributes_of(kind: str, node: Node) -> Attributes:
    """The attributes of a node of that table kind; what cannot be known stays None."""
    source, result = node.shape(0), node.outputs[0].shape if node.outputs else ()
    known = Attributes(
        input_hw=_hw(source), output_hw=_hw(result), in_channels=_fixed(source, 1), out_channels=_fixed(result, 1),
        batch=_fixed(source, 0), activation="NONE",
    )  # fmt: skip
    describe = DESCRIBERS.get(kind)
    return known if describe is None else describe(node, known)


def _hw(shape: tuple[int, ...]) -> tuple[int, int] | None:
    return (shape[2], shape[3]) if len(shape) == 4 and min(shape[2:]) > 0 else None


def _fixed(shape: tuple[int, ...], axis: int) -> int | None:
    return shape[axis] if len(shape) == 4 and shape[axis] > 0 else None


def _pair(values: tuple[int, ...]) -> tuple[int, int] | None:
    return (values[0], values[1]) if len(values) == 2 else None


def _window(node: Node, known: Attributes) -> Attributes:
    stride, dilation = node.numbers("strides", (1, 1)), node.numbers("dilations", (1, 1))
    kernel = _pair(node.numbers("kernel_shape", node.shape(1)[2:]))
    known = replace(known, stride=_pair(stride), dilation=_pair(dilation), kernel=kernel)
    return replace(known, padding=_padding(node, known))


def _padding(node: Node, known: Attributes) -> str:
    """SAME, VALID, or EXPLICIT where the pads are neither's."""
    automatic, pads = node.text("auto_pad", "NOTSET"), node.numbers("pads", (0, 0, 0, 0))
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        return "SAME"
    if automatic == "VALID" or not any(pads):
        return "VALID"
    if known.kernel is None or known.stride is None or known.dilation is None or len(pads) != 4:
        return "EXPLICIT"
    triples = zip(known.kernel, known.stride, known.dilation, strict=True)
    wanted = [d * (k - 1) - s + 1 for k, s, d in triples]
    total = [pads[0] + pads[2], pads[1] + pads[3]]
    return "SAME" if wanted == total else "EXPLICIT"


def _convolution(node: Node, known: Attributes) -> Attributes:
    known, weight = _window(node, known), node.shape(1)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    groups = int(node.number("group", 1))
    known = replace(known, groups=groups, weight_rank=len(weight), has_bias=bias is not None)
    known = replace(known, bias_dtype=None if bias is None else bias.dtype)
    return replace(known, depth_multiplier=weight[0] // groups) if node.is_depthwise else known


def _block(node: Node, known: Attributes) -> Attributes:
    return replace(known, block=int(node.number("blocksize", 0)), mode=node.text("mode", "DCR"))


def _resize(node: Node, known: Attributes) -> Attributes:
    how = node.text("coordinate_transformation_mode", "half_pixel")
    corners, half = how == "align_corners", how in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
    return replace(known, mode=node.text("mode", "nearest"), align_corners=corners, half_pixel_centers=half)


def _transpose(node: Node, known: Attributes) -> Attributes:
    return replace(known, permutation=node.numbers("perm", ()) or None)


def _reduction(node: Node, known: Attributes) -> Attributes:
    if node.proto.op_type == "GlobalAveragePool":
        return replace(known, axes_include_channel=False)
    axes, rank = node.numbers("axes", ()) or node.constant(1), len(node.shape(0))
    return known if not axes or not rank else replace(known, axes_include_channel=any(int(x) % rank == 1 for x in axes))


def _slice(node: Node, known: Attributes) -> Attributes:
    steps = node.constant(4) if len(node.inputs) > 4 else (1.0,)
    return replace(known, strides=None if steps is None else tuple(map(int, steps)), ellipsis_mask=0, offset=False)


def _softmax(_node: Node, known: Attributes) -> Attributes:
    return replace(known, beta=1.0)


def _gelu(node: Node, known: Attributes) -> Attributes:
    return replace(known, approximate=node.text("approximate", "none") == "tanh")


def _gather(node: Node, known: Attributes) -> Attributes:
    axis = int(node.number("axis", 0)) % max(len(node.shape(0)), 1)
    return replace(known, batch_dims=0, axis_equals_batch_dims=axis == 0)


DESCRIBERS: Mapping[str, Callable[[Node, Attributes], Attributes]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "TRANSPOSE_CONV": _convolution,
    "MAX_POOL_2D": _window,
    "AVERAGE_POOL_2D": _window,
    "DEPTH_TO_SPACE": _block,
    "SPACE_TO_DEPTH": _block,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "RESIZE_BILINEAR": _resize,
    "TRANSPOSE": _transpose,
    "MEAN": _reduction,
    "SUM": _reduction,
    "REDUCE_MAX": _reduction,
    "STRIDED_SLICE": _slice,
    "SOFTMAX": _softmax,
    "GELU": _gelu,
    "GATHER": _gather,
}
