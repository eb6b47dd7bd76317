"""The operators of a network as a file holds them, in one form for TFLite, ONNX and graphs.

Shapes are the file's own, -1 for a free dimension. Everything that the tables' rules ask for and that depends on the
axes' order (height, width, channels) is an attribute, filled in by the reader who knows the order. An attribute that is
None does not apply or cannot be known: a rule that asks for it decides nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

from edgesr.target import Format

MAX_FILE_BYTES = 2**31 - 1
"""What both formats' 32-bit offsets reach."""
FREE = -1


class DType(enum.Enum):
    """The type of a tensor's elements, as the tables name it."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"
    OTHER = "other"

    @property
    def is_float(self) -> bool:
        """Whether it holds reals."""
        return self in (DType.FLOAT32, DType.FLOAT16)

    @property
    def is_signed(self) -> bool:
        """Whether it holds negative integers."""
        return self in (DType.INT8, DType.INT16, DType.INT32, DType.INT64)


@dataclass(frozen=True)
class FileTensor:
    """A tensor without its content; `grid` is its scale and zero point where it has one of each.

    Names need not differ in TFLite: `index` tells tensors of one name apart.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    is_constant: bool = False
    is_quantized: bool = False
    grid: tuple[float, int] | None = None
    index: int = 0

    @property
    def key(self) -> tuple[str, int]:
        """What no other tensor of the file has."""
        return self.name, self.index

    @property
    def is_free(self) -> bool:
        """Whether some dimension has no fixed size."""
        return any(n < 0 for n in self.shape)


@dataclass(frozen=True)
class Attributes:
    """What the rules of the tables ask about an operator; None is 'does not apply' or 'cannot be known'.

    Pairs are (height, width). `axes_include_channel` is about reductions, `scale` about resizes: output over input, or
    of one less each where corners are aligned; `strides` has every axis of a STRIDED_SLICE.
    """

    kernel: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    dilation: tuple[int, int] | None = None
    padding: str | None = None
    groups: int | None = None
    depth_multiplier: int | None = None
    in_channels: int | None = None
    out_channels: int | None = None
    input_hw: tuple[int, int] | None = None
    output_hw: tuple[int, int] | None = None
    batch: int | None = None
    block: int | None = None
    permutation: tuple[int, ...] | None = None
    activation: str | None = None
    has_bias: bool | None = None
    bias_dtype: DType | None = None
    weight_rank: int | None = None
    mode: str | None = None
    align_corners: bool | None = None
    half_pixel_centers: bool | None = None
    axes_include_channel: bool | None = None
    axis_equals_batch_dims: bool | None = None
    batch_dims: int | None = None
    approximate: bool | None = None
    beta: float | None = None
    strides: tuple[int, ...] | None = None
    ellipsis_mask: int | None = None
    offset: bool | None = None


@dataclass(frozen=True)
class FileOperator:
    """One operator: `kind` as the file calls it, `table_kind` the TFLite name that the tables know, '' for none.

    `dtype` is the type of its activations. `compiled_for` names the compiler whose output a custom operator holds.
    `nodes` are the first outputs of the file's nodes that make it up, empty where an operator is a node; `feeds` are
    those of the DequantizeLinear before it, which it may share.
    """

    name: str
    kind: str
    table_kind: str
    dtype: DType
    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]
    attributes: Attributes = field(default_factory=Attributes)
    is_custom: bool = False
    compiled_for: str = ""
    nodes: tuple[str, ...] = ()
    feeds: tuple[str, ...] = ()

    @property
    def activations(self) -> tuple[FileTensor, ...]:
        """The tensors that depend on the image."""
        return tuple(tensor for tensor in (*self.inputs, *self.outputs) if not tensor.is_constant)

    @property
    def rank(self) -> int:
        """The most axes that one of its activations has."""
        return max((len(tensor.shape) for tensor in self.activations), default=0)

    @property
    def is_free(self) -> bool:
        """Whether one of its activations has no fixed size."""
        return any(tensor.is_free for tensor in self.activations)


@dataclass(frozen=True)
class OperatorList:
    """The operators of a network in an order in which each reads only what stands before it.

    `format` is None for a graph that is no file yet. `notes` say what of the file is not among them.
    """

    origin: str
    format: Format | None
    operators: tuple[FileOperator, ...]
    inputs: tuple[FileTensor, ...]
    path: Path | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an empty list, about which every statement would be true."""
        if not self.operators:
            raise ValueError(f"{self.origin} has no operator")

    @property
    def input_rank(self) -> int:
        """The most axes that an input has."""
        return max((len(tensor.shape) for tensor in self.inputs), default=0)
