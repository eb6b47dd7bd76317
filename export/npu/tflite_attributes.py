"""What the tables' rules ask about a TFLite operator, from its options, shapes and small constants; axes are NHWC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgesr.export.npu.file_operator import Attributes, FileTensor

ACTIVATIONS: Mapping[int, str] = {
    code: name for name, code in vars(schema.ActivationFunctionType).items() if not name.startswith("_")
}
PADDINGS: Mapping[int, str] = {code: name for name, code in vars(schema.Padding).items() if not name.startswith("_")}
MIRRORS = {schema.MirrorPadMode.REFLECT: "REFLECT", schema.MirrorPadMode.SYMMETRIC: "SYMMETRIC"}


@dataclass(frozen=True)
class RawOperator:
    """An operator before its attributes are known; `content` holds small integer constants by input position."""

    kind: str
    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]
    options: Any
    content: Mapping[int, tuple[int, ...]]

    def shape(self, position: int) -> tuple[int, ...]:
        """The shape of an input, empty where there is none."""
        return self.inputs[position].shape if position < len(self.inputs) else ()


def attributes_of(op: RawOperator) -> Attributes:
    """The attributes; what an operator of this kind lacks stays None."""
    describe = DESCRIBERS.get(op.kind)
    image = _image(op, 2 if op.kind == "TRANSPOSE_CONV" else 0)
    common = replace(image, activation=_activation(op.options))
    return common if describe is None else describe(op, common)


def _image(op: RawOperator, data: int) -> Attributes:
    """Height, width, channels and batch of the input and output, where those are images of fixed size."""
    source, result = op.shape(data), op.outputs[0].shape
    return Attributes(
        input_hw=_hw(source), output_hw=_hw(result),
        in_channels=source[3] if len(source) == 4 and source[3] > 0 else None,
        out_channels=result[3] if len(result) == 4 and result[3] > 0 else None,
        batch=source[0] if len(source) == 4 and source[0] > 0 else None,
    )  # fmt: skip


def _hw(shape: tuple[int, ...]) -> tuple[int, int] | None:
    return (shape[1], shape[2]) if len(shape) == 4 and min(shape[1:3]) > 0 else None


def _activation(options: Any) -> str:
    code = options.FusedActivationFunction() if hasattr(options, "FusedActivationFunction") else 0
    return ACTIVATIONS.get(code, f"ACTIVATION_{code}")


def _window(op: RawOperator, known: Attributes) -> Attributes:
    """Stride and padding of what slides over the image."""
    if op.options is None:
        return known
    stride = op.options.StrideH(), op.options.StrideW()
    return replace(known, stride=stride, padding=PADDINGS.get(op.options.Padding(), "?"))


def _convolution(op: RawOperator, known: Attributes) -> Attributes:
    known, weight = _window(op, known), op.shape(1)
    known = replace(known, weight_rank=len(weight), has_bias=len(op.inputs) > 2)
    if known.has_bias:
        known = replace(known, bias_dtype=op.inputs[2].dtype)
    if len(weight) == 4:
        known = replace(known, kernel=(weight[1], weight[2]))
        if op.kind == "CONV_2D" and known.in_channels and weight[3] > 0:
            known = replace(known, groups=known.in_channels // weight[3])
    if op.options is not None:
        known = replace(known, dilation=(op.options.DilationHFactor(), op.options.DilationWFactor()))
    if op.kind == "DEPTHWISE_CONV_2D" and known.in_channels and known.out_channels:
        known = replace(known, depth_multiplier=known.out_channels // known.in_channels, groups=known.in_channels)
    return known


def _transposed(op: RawOperator, known: Attributes) -> Attributes:
    known, weight = _window(op, known), op.shape(1)
    bias = op.inputs[3].dtype if len(op.inputs) > 3 else None
    kernel = (weight[1], weight[2]) if len(weight) == 4 else None
    return replace(known, kernel=kernel, weight_rank=len(weight), has_bias=bias is not None, bias_dtype=bias)


def _pool(op: RawOperator, known: Attributes) -> Attributes:
    known = _window(op, known)
    return known if op.options is None else replace(known, kernel=(op.options.FilterHeight(), op.options.FilterWidth()))


def _dense(op: RawOperator, known: Attributes) -> Attributes:
    return replace(known, weight_rank=len(op.shape(1)), has_bias=len(op.inputs) > 2)


def _block(op: RawOperator, known: Attributes) -> Attributes:
    return known if op.options is None else replace(known, block=op.options.BlockSize())


def _resize(op: RawOperator, known: Attributes) -> Attributes:
    mode = "nearest" if op.kind == "RESIZE_NEAREST_NEIGHBOR" else "bilinear"
    corners, half = (False, False) if op.options is None else (op.options.AlignCorners(), op.options.HalfPixelCenters())
    return replace(known, mode=mode, align_corners=bool(corners), half_pixel_centers=bool(half))


def _reduction(op: RawOperator, known: Attributes) -> Attributes:
    axes, rank = op.content.get(1), len(op.shape(0))
    if axes is None or not rank:
        return known
    return replace(known, axes_include_channel=any(axis % rank == rank - 1 for axis in axes))


def _transpose(op: RawOperator, known: Attributes) -> Attributes:
    return replace(known, permutation=op.content.get(1))


def _strided_slice(op: RawOperator, known: Attributes) -> Attributes:
    known = replace(known, strides=op.content.get(3))
    if op.options is None:
        return known
    return replace(known, ellipsis_mask=op.options.EllipsisMask(), offset=bool(op.options.Offset()))


def _softmax(op: RawOperator, known: Attributes) -> Attributes:
    return known if op.options is None else replace(known, beta=float(op.options.Beta()))


def _gelu(op: RawOperator, known: Attributes) -> Attributes:
    return replace(known, approximate=op.options is not None and bool(op.options.Approximate()))


def _gather(op: RawOperator, known: Attributes) -> Attributes:
    axis, dims = (0, 0) if op.options is None else (op.options.Axis(), op.options.BatchDims())
    rank = len(op.shape(0))
    return replace(known, batch_dims=dims, axis_equals_batch_dims=axis % max(rank, 1) == dims)


def _mirror_pad(op: RawOperator, known: Attributes) -> Attributes:
    return known if op.options is None else replace(known, mode=MIRRORS.get(op.options.Mode(), "?"))


DESCRIBERS: Mapping[str, Callable[[RawOperator, Attributes], Attributes]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "MAX_POOL_2D": _pool,
    "AVERAGE_POOL_2D": _pool,
    "DEPTH_TO_SPACE": _block,
    "SPACE_TO_DEPTH": _block,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "RESIZE_BILINEAR": _resize,
    "MEAN": _reduction,
    "SUM": _reduction,
    "REDUCE_MAX": _reduction,
    "TRANSPOSE": _transpose,
    "STRIDED_SLICE": _strided_slice,
    "SOFTMAX": _softmax,
    "GELU": _gelu,
    "GATHER": _gather,
    "MIRROR_PAD": _mirror_pad,
}
