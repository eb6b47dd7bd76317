"""What can be exported: one literal table of targets, named <format>-<precision>."""

from __future__ import annotations

import difflib
import enum
from dataclasses import dataclass

from edgesr.ethos_u import ETHOS_U


class Format(enum.Enum):
    """The file format; the value is the file's suffix."""

    TFLITE = "tflite"
    ONNX = "onnx"


class Precision(enum.Enum):
    """How weights are stored and arithmetic is done."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    A16W8 = "a16w8"

    @property
    def is_integer(self) -> bool:
        """Whether files hold a quantized graph."""
        return self in (Precision.INT8, Precision.A16W8)


class Compiler(enum.Enum):
    """What turns a target's file into one for a single NPU."""

    QNN = "qnn"
    VELA = "vela"
    LITERT_AOT = "litert-aot"


class IODtype(enum.Enum):
    """The type of the image that goes in and comes out."""

    FLOAT32 = "float32"
    INT8 = "int8"
    UINT8 = "uint8"


class Layout(enum.Enum):
    """The order of the image's axes."""

    NHWC = "nhwc"
    NCHW = "nchw"


@dataclass(frozen=True)
class Target:
    """A format and precision with its defaults and what they may be changed to.

    `runners` run every file of the target on this machine. `emulators` can too, but need an extra and minutes: they run
    when they are named, and so do `witnesses`, other builds of a runtime. Where there is a `compiler`, the file is
    compiled for one NPU, `npu` or what --npu says; the compiled file is what is written, and `runners` run the one that
    it was compiled from.
    """

    name: str
    format: Format
    precision: Precision
    io: tuple[IODtype, ...]
    layouts: tuple[Layout, ...]
    runners: tuple[str, ...]
    summary: str
    emulators: tuple[str, ...] = ()
    compiler: Compiler | None = None
    npu: str | None = None
    witnesses: tuple[str, ...] = ()

    @property
    def all_runners(self) -> tuple[str, ...]:
        """What can run the target's files on this machine, extras included."""
        return self.runners + self.emulators + self.witnesses

    @property
    def default_io(self) -> IODtype:
        """The image type without an option."""
        return self.io[0]

    @property
    def default_layout(self) -> Layout:
        """The axis order without an option."""
        return self.layouts[0]


_FLOAT = (IODtype.FLOAT32,)
_TFLITE = (Layout.NHWC,)
_ONNX = (Layout.NCHW, Layout.NHWC)
_ONNX_INTEGER = (Layout.NHWC, Layout.NCHW)
_TFLITE_IMAGE = (IODtype.INT8, IODtype.UINT8, IODtype.FLOAT32)
_ONNX_IMAGE = (IODtype.UINT8, IODtype.INT8, IODtype.FLOAT32)
_LITERT = ("litert-xnnpack", "litert-reference")
_ORT = ("onnxruntime",)
_HTP = ("qnn-htp",)
_TENSORFLOW = ("tensorflow",)

TARGETS: tuple[Target, ...] = (
    Target(
        "tflite-fp32", Format.TFLITE, Precision.FP32, _FLOAT, _TFLITE, _LITERT, "float weights and arithmetic",
        witnesses=_TENSORFLOW,
    ),
    Target(
        "tflite-fp16", Format.TFLITE, Precision.FP16, _FLOAT, _TFLITE, _LITERT, "half-size weights, float math",
        witnesses=_TENSORFLOW,
    ),
    Target(
        "tflite-int8", Format.TFLITE, Precision.INT8, _TFLITE_IMAGE, _TFLITE, _LITERT,
        "8-bit integers throughout; the bytes of int8 I/O are the image XOR 0x80", witnesses=_TENSORFLOW,
    ),
    Target(
        "tflite-a16w8", Format.TFLITE, Precision.A16W8, _TFLITE_IMAGE, _TFLITE, _LITERT,
        "8-bit weights, 16-bit activations where LiteRT has kernels, 8-bit image", witnesses=_TENSORFLOW,
    ),
    Target("onnx-fp32", Format.ONNX, Precision.FP32, _FLOAT, _ONNX, _ORT, "float weights and arithmetic"),
    Target(
        "onnx-fp16", Format.ONNX, Precision.FP16, _FLOAT, _ONNX, _ORT, "half weights and arithmetic, float image", _HTP
    ),
    Target(
        "onnx-int8", Format.ONNX, Precision.INT8, _ONNX_IMAGE, _ONNX_INTEGER, _ORT,
        "8-bit integers as QuantizeLinear/DequantizeLinear pairs (QDQ)", _HTP,
    ),
    Target(
        "onnx-a16w8", Format.ONNX, Precision.A16W8, _ONNX_IMAGE, _ONNX_INTEGER, _ORT,
        "8-bit weights, unsigned 16-bit activations as QDQ (opset 21), 8-bit image", _HTP,
    ),
)  # fmt: skip
"""Files that any phone's runtime loads: every format in every precision."""


_BYTES = (IODtype.UINT8,)

COMPILED_TARGETS: tuple[Target, ...] = (
    Target(
        "qnn-int8", Format.ONNX, Precision.INT8, _BYTES, _TFLITE, _ORT,
        "a QNN context binary and its ONNX wrapper, for the Snapdragon that --npu names", _HTP, Compiler.QNN,
    ),
    Target(
        "qnn-a16w8", Format.ONNX, Precision.A16W8, _BYTES, _TFLITE, _ORT,
        "the same with 16-bit activations", _HTP, Compiler.QNN,
    ),
    Target(
        "qnn-fp16", Format.ONNX, Precision.FP16, _BYTES, _TFLITE, _ORT,
        "the same in half precision", _HTP, Compiler.QNN,
    ),
    Target(
        "litert-aot-int8", Format.TFLITE, Precision.INT8, (IODtype.INT8,), _TFLITE, _LITERT,
        "8-bit integers compiled by LiteRT for the Snapdragon that --npu names", (), Compiler.LITERT_AOT,
    ),
    *(
        Target(
            npu.name, Format.TFLITE, Precision.INT8, (IODtype.INT8,), _TFLITE, _LITERT,
            f"8-bit integers compiled by Vela for Arm {npu.name}, the shuffle left to the host", (), Compiler.VELA,
            npu.name,
        )
        for npu in ETHOS_U
    ),
)  # fmt: skip
"""Files that one NPU alone loads."""

ALL_TARGETS = TARGETS + COMPILED_TARGETS


def find_target(name: str) -> Target | None:
    """The target of that name, None where there is none."""
    return next((target for target in ALL_TARGETS if target.name == name), None)


def near_targets(name: str) -> list[str]:
    """The names most like `name`, at most three."""
    return difflib.get_close_matches(name.lower(), [target.name for target in ALL_TARGETS], n=3, cutoff=0.3)
