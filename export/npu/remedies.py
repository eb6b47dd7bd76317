"""What would bring a refused operator onto the NPU: the first line of one literal table that fits.

A remedy is a fold of edgesr, a change of the export, or a change of the network; none is a promise, the next audit
says.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from edgesr.export.npu.file_operator import DType, FileOperator
from edgesr.export.npu.tables import NpuTable, Supported
from edgesr.target import Format


class Cause(enum.Enum):
    """What kind of reason keeps an operator off the NPU."""

    NONE = "none"
    KIND = "operator"
    DTYPE = "type"
    RANK = "rank"
    RULE = "rule"
    PROBE = "probe"
    UNDECIDED = "undecided"
    FREE = "free size"
    ABSENT = "absent"
    CUSTOM = "custom"
    COMPILED = "compiled"
    UNSEEN = "unseen"
    WRONG = "wrong result"
    FAILS = "fails the model"


Applies = Callable[[FileOperator, Cause, NpuTable], bool]

SHUFFLE_RANK = 5
WIDE = (DType.INT16, DType.UINT16)
RESHAPING = ("RESHAPE", "TRANSPOSE")


@dataclass(frozen=True)
class Remedy:
    """A remedy for operators of some kinds (none: of any), where `applies` agrees."""

    kinds: tuple[str, ...]
    applies: Applies
    text: str


def remedy_for(op: FileOperator, cause: Cause, table: NpuTable) -> str:
    """The remedy for an operator that a table keeps off its NPU."""
    for remedy in REMEDIES:
        if (not remedy.kinds or op.table_kind in remedy.kinds) and remedy.applies(op, cause, table):
            return remedy.text
    return ""


def _always(_op: FileOperator, _cause: Cause, _table: NpuTable) -> bool:
    return True


def _by_cause(*causes: Cause) -> Applies:
    return lambda _op, cause, _table: cause in causes


def _is_free(op: FileOperator, cause: Cause, _table: NpuTable) -> bool:
    return cause is Cause.FREE or (cause is Cause.UNDECIDED and op.is_free)


def _is_shuffle(op: FileOperator, _cause: Cause, _table: NpuTable) -> bool:
    return op.rank >= SHUFFLE_RANK


def _is_shuffle_without_native(op: FileOperator, cause: Cause, table: NpuTable) -> bool:
    row = table.rows.get("DEPTH_TO_SPACE")
    return _is_shuffle(op, cause, table) and row is not None and row.supported is Supported.NO


def _is_grouped(op: FileOperator, _cause: Cause, _table: NpuTable) -> bool:
    a = op.attributes
    return (a.depth_multiplier or 1) > 1 or (op.table_kind == "CONV_2D" and (a.groups or 1) > 1)


def _is_float_for_integers(op: FileOperator, cause: Cause, table: NpuTable) -> bool:
    return cause is Cause.DTYPE and op.dtype.is_float and not table.takes_floats


def _touches_float(op: FileOperator, _cause: Cause, table: NpuTable) -> bool:
    return not table.takes_floats and any(tensor.dtype.is_float for tensor in op.activations)


def _is_half(op: FileOperator, _cause: Cause, _table: NpuTable) -> bool:
    return op.dtype is DType.FLOAT16


def _is_wide(op: FileOperator, cause: Cause, _table: NpuTable) -> bool:
    return op.dtype in WIDE and cause in (Cause.DTYPE, Cause.PROBE, Cause.RULE, Cause.FAILS)


def _is_wide_with_onnx(op: FileOperator, cause: Cause, table: NpuTable) -> bool:
    return op.dtype is DType.INT16 and _is_wide(op, cause, table) and Format.ONNX in table.formats


def _is_signed(op: FileOperator, cause: Cause, table: NpuTable) -> bool:
    row = table.rows.get(op.table_kind)
    return cause is Cause.DTYPE and op.dtype is DType.INT8 and row is not None and DType.UINT8 in row.dtypes


def _lost_activation(op: FileOperator, cause: Cause, _table: NpuTable) -> bool:
    return cause is Cause.WRONG and op.attributes.activation not in (None, "NONE")


SPLITS = "otherwise it splits the NPU's part of the network"
HOST_TAIL = "end the network before the shuffle (48 channels for RGB x4) and shuffle on the host"

REMEDIES: tuple[Remedy, ...] = (
    Remedy((), _by_cause(Cause.ABSENT, Cause.UNSEEN), ""),
    Remedy((), _by_cause(Cause.COMPILED), "audit the file that it was compiled from"),
    Remedy((), _by_cause(Cause.CUSTOM), "convert the network with edgesr export, which writes builtin operators alone"),
    Remedy((), _is_free, "fix the size: edgesr export --size HxW"),
    Remedy(
        ("QUANTIZE", "DEQUANTIZE"), _touches_float,
        "give the file integer images: edgesr export --io int8 (or uint8), and convert on the host",
    ),
    Remedy((), _is_float_for_integers, "this NPU computes in integers: edgesr export --target tflite-int8"),
    Remedy((), _lost_activation, "keep the activation as an operator of its own, behind this one"),
    Remedy(
        RESHAPING, _is_shuffle_without_native,
        f"a pixel shuffle in pieces: export with edgesr, {HOST_TAIL}",
    ),
    Remedy(
        RESHAPING, _is_shuffle,
        "a pixel shuffle in pieces: export with edgesr, whose fold pixel-shuffle-to-depth-to-space makes it one "
        "DEPTH_TO_SPACE",
    ),
    Remedy(("DEPTH_TO_SPACE",), _by_cause(Cause.KIND, Cause.FAILS), HOST_TAIL),
    Remedy(
        ("CONV_2D", "DEPTHWISE_CONV_2D"), _is_grouped,
        "one dense convolution: export with edgesr, whose fold densify-grouped-conv makes it so",
    ),
    Remedy((), _is_half, "float32 tensors, which such NPUs compute in half precision themselves: tflite-fp32"),
    Remedy(
        (), _is_wide_with_onnx,
        "unsigned 16 bits through ONNX (edgesr export --target onnx-a16w8), or 8 bits for this operator",
    ),
    Remedy((), _is_wide, "8 bits for this operator: edgesr export --target tflite-int8"),
    Remedy((), _is_signed, "unsigned 8 bits for this operator, as ONNX files have: edgesr export --target onnx-int8"),
    Remedy(
        ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _always,
        "enlarge by 2, in steps, with equal factors and without aligned corners; or resize on the host",
    ),
    Remedy(
        ("TRANSPOSE_CONV",), _always,
        "a convolution to r*r times the channels and DEPTH_TO_SPACE; or stride 2, VALID padding, a size that the "
        "stride divides",
    ),
    Remedy(("LOGISTIC",), _always, "of a SiLU (LOGISTIC and MUL): HARD_SWISH or RELU, after fine-tuning"),
    Remedy(("PRELU",), _always, "LEAKY_RELU with one slope, or RELU, after fine-tuning"),
    Remedy(("LEAKY_RELU",), _always, "MUL and MAXIMUM (the same for a slope in 0..1), or RELU after fine-tuning"),
    Remedy(("GELU", "ELU", "TANH", "HARD_SWISH"), _always, "RELU, or what this NPU takes, after fine-tuning"),
    Remedy(
        ("RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "RELU"), _always,
        "fuse it into the operator before it: edgesr export does (fold fuse-activation)",
    ),
    Remedy(
        ("MINIMUM", "MAXIMUM"), _always,
        "an output clip is free in int8: edgesr export --target tflite-int8 leaves it to saturation",
    ),
    Remedy(("SOFTMAX",), _always, "an attention without softmax, or beta 1 and less than 65536 positions"),
    Remedy(("SPLIT", "SPLIT_V", "GATHER"), _always, "STRIDED_SLICE for each part, or two convolutions in place of one"),
    Remedy(
        ("MEAN", "SUM", "REDUCE_MAX"), _always,
        "reduce over height and width alone, at batch 1; over channels, a 1x1 convolution",
    ),
    Remedy(("DIV", "POW", "SQRT", "RSQRT", "EXP"), _always, f"a constant factor, folded into weights; {SPLITS}"),
    Remedy(("NEG", "ABS"), _always, "fold the sign into the weights before it; ABS as MAXIMUM of x and -x"),
    Remedy(("PADV2", "MIRROR_PAD", "PAD"), _always, "zero padding inside the convolution"),
    Remedy((), _always, f"export the network with edgesr, or replace the operator; {SPLITS}"),
)  # fmt: skip
"""Cause and type first, then the operator; the last line fits all."""
