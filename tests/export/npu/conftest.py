"""The single-operator probes of the tables, rebuilt from their variants' names."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgesr.export.npu.file_operator import Attributes, DType, FileOperator, FileTensor, OperatorList

SIDE = 16
WIDE = (DType.INT16, DType.UINT16)
CONV_VARIANTS: dict[str, dict[str, Any]] = {
    "1x1": {"kernel": (1, 1)},
    "5x5": {"kernel": (5, 5)},
    "relu": {"activation": "RELU"},
    "relu6": {"activation": "RELU6"},
    "relu_n1_to_1": {"activation": "RELU_N1_TO_1"},
    "stride2": {"stride": (2, 2), "output_hw": (8, 8)},
    "dil2": {"dilation": (2, 2)},
    "no_bias": {"has_bias": False, "bias_dtype": None},
    "groups2": {"groups": 2},
    "oc3": {"out_channels": 3},
    "mult2": {"depth_multiplier": 2, "out_channels": 16},
    "mult16_c3": {"depth_multiplier": 16, "in_channels": 3, "out_channels": 48, "kernel": (1, 1)},
    "c1_mult8": {"depth_multiplier": 8, "in_channels": 1},
    "bias32": {"bias_dtype": DType.INT32},
    "s8 weights int32 bias": {"bias_dtype": DType.INT32},
    "u8 weights int32 bias": {"bias_dtype": DType.INT32},
    "per_tensor": {},
    "plain": {},
}


def probe(kind: str, variant: str, dtype: DType) -> FileOperator:
    """The operator of a probe model: 16x16x8, in the variant's form."""
    known = Attributes(
        input_hw=(SIDE, SIDE), output_hw=(SIDE, SIDE), in_channels=8, out_channels=8, batch=1, activation="NONE"
    )
    source, result = tensor("x", dtype), tensor("y", dtype)
    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        bias = DType.INT64 if dtype in WIDE else DType.FLOAT32 if dtype.is_float else DType.INT32
        known = replace(
            known, kernel=(3, 3), stride=(1, 1), dilation=(1, 1), padding="SAME", has_bias=True, bias_dtype=bias,
            groups=1, weight_rank=4, depth_multiplier=1 if kind == "DEPTHWISE_CONV_2D" else None,
        )  # fmt: skip
        known = replace(known, **CONV_VARIANTS[variant])
    elif kind == "TRANSPOSE_CONV":
        known = transposed(known, variant)
    elif kind.startswith("RESIZE"):
        factor = int(variant[1])
        known = replace(
            known, output_hw=(SIDE * factor,) * 2, half_pixel_centers=variant.endswith("_hp"),
            align_corners=variant.endswith("_al"),
        )  # fmt: skip
    elif kind in ("RESHAPE", "TRANSPOSE") and variant.startswith("rank"):
        source = tensor("x", dtype, (1,) * int(variant[-1]))
    elif kind == "QUANTIZE":
        source, result = quantized(variant, dtype)
    elif kind == "CAST":
        source, result = (
            (tensor("x", dtype), tensor("y", DType.UINT8))
            if variant == "f_to_u8"
            else (tensor("x", DType.UINT8), tensor("y", dtype))
        )
    elif kind == "DEQUANTIZE":
        result = tensor("y", DType.FLOAT32)
    return FileOperator("y", kind, kind, dtype, (source,), (result,), others(kind, variant, known))


def transposed(known: Attributes, variant: str) -> Attributes:
    """`s4k8_same`: stride 4, kernel 8."""
    stride, kernel = int(variant[1]), int(variant[3])
    side = 15 if variant.endswith("h15") else SIDE
    return replace(
        known, stride=(stride,) * 2, kernel=(kernel,) * 2, padding="VALID" if "valid" in variant else "SAME",
        input_hw=(side,) * 2, output_hw=(side * stride,) * 2, activation="RELU" if "relu" in variant else "NONE",
    )  # fmt: skip


def quantized(variant: str, dtype: DType) -> tuple[FileTensor, FileTensor]:
    """What goes into a QUANTIZE and comes out."""
    names = {"f32_to_q": DType.FLOAT32, "u8_to_q": DType.UINT8, "i8_to_i16": DType.INT8, "i16_to_i8": DType.INT16}
    return tensor("x", names.get(variant, dtype)), tensor("y", dtype)


def others(kind: str, variant: str, known: Attributes) -> Attributes:
    """What the rest of the operators' rules ask for."""
    if kind in ("MEAN", "SUM", "REDUCE_MAX"):
        return replace(known, axes_include_channel=variant == "c_keep")
    if kind == "GELU":
        return replace(known, approximate=variant == "approx")
    if kind == "GATHER":
        return replace(known, batch_dims=0, axis_equals_batch_dims=False)
    if kind == "AVERAGE_POOL_2D":
        return replace(known, kernel=(2, 2), stride=(2, 2), padding="VALID")
    return replace(known, beta=1.0, ellipsis_mask=0, offset=False, strides=(1, 1, 1, 1))


def tensor(name: str, dtype: DType, shape: tuple[int, ...] = (1, SIDE, SIDE, 8)) -> FileTensor:
    return FileTensor(name, shape, dtype, False, not dtype.is_float)


@pytest.fixture(scope="session")
def probe_of() -> Callable[[str, str, DType], FileOperator]:
    """`probe_of("CONV_2D", "relu6", DType.INT16)`."""
    return probe


@pytest.fixture(scope="session")
def network_of() -> Callable[..., OperatorList]:
    """A network of the given operators, one behind the other."""

    def build(*operators: FileOperator) -> OperatorList:
        chained = []
        for index, op in enumerate(operators):
            source, result = (replace(t, name=f"{n}") for t, n in ((op.inputs[0], index), (op.outputs[0], index + 1)))
            chained.append(replace(op, name=f"{op.kind.lower()}_{index}", inputs=(source,), outputs=(result,)))
        return OperatorList("network", None, tuple(chained), chained[0].inputs)

    return build
