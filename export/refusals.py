"""What of a network the vocabulary does not hold, as one list: each operator with its places, reason and remedy.

An operator that NPUs would refuse, too, says which: by the tables of `edgesr.export.npu`, for the TFLite operator that
a plain converter writes for it. An NPU whose table says nothing about an operator is not named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx

from edgesr.errors import UnsupportedOpError
from edgesr.export.node_origin import module_path, operator_name, source_line
from edgesr.export.npu.tables import Supported, load_tables

ADVICE = (
    "replace them in the network by convolutions, elementwise arithmetic, ReLU/sigmoid, concat, pixel shuffle or "
    "nearest resize, or export it as it is with --route general"
)


@dataclass(frozen=True)
class Known:
    """An operator outside the vocabulary: what TFLite calls it, and what to do without it."""

    tflite: str
    remedy: str = ""


OUTSIDE: dict[str, Known] = {
    "aten.reflection_pad2d.default": Known("MIRROR_PAD", "reflect padding; train with zero padding"),
    "aten.replication_pad2d.default": Known("GATHER", "replicate padding; train with zero padding"),
    "aten.constant_pad_nd.default": Known("PAD", "give the padding to the convolution that reads it"),
    "aten._native_batch_norm_legit.no_stats": Known(
        "MEAN", "it normalizes by each image's own statistics; train with track_running_stats=True"
    ),
    "aten._native_batch_norm_legit_functional.default": Known("MEAN", "batch norm in training mode; use eval()"),
    "aten.native_group_norm.default": Known("RSQRT", "it normalizes by each image's own statistics"),
    "aten.native_layer_norm.default": Known("RSQRT", "it normalizes by each position's own statistics"),
    "aten.upsample_bilinear2d.vec": Known("RESIZE_BILINEAR", "use mode='nearest' or a pixel shuffle"),
    "aten.upsample_bicubic2d.vec": Known("", "use mode='nearest' or a pixel shuffle"),
    "aten.mean.dim": Known("MEAN"),
    "aten.sum.dim_IntList": Known("SUM"),
    "aten._softmax.default": Known("SOFTMAX"),
    "aten.bmm.default": Known("BATCH_MATMUL"),
    "aten.mm.default": Known("FULLY_CONNECTED"),
    "aten.addmm.default": Known("FULLY_CONNECTED"),
    "aten.gelu.default": Known("GELU", "use ReLU, SiLU or hardswish"),
    "aten.exp.default": Known("EXP"),
    "aten.pow.Tensor_Scalar": Known("POW", "write the power as products"),
    "aten.sqrt.default": Known("SQRT"),
    "aten.rsqrt.default": Known("RSQRT"),
    "aten.abs.default": Known("ABS"),
    "aten.index.Tensor": Known("GATHER"),
    "aten.permute.default": Known("TRANSPOSE"),
    "aten.view.default": Known("RESHAPE"),
}


@dataclass(frozen=True)
class Refusal:
    """One node that cannot be read; `why` is empty where the operator as such is outside the vocabulary."""

    operator: str
    place: str
    line: str
    why: str = ""


def refusal_of(node: fx.Node, why: str = "") -> Refusal:
    """The refusal of a node, with where it comes from."""
    operator = operator_name(node)
    known = OUTSIDE.get(operator)
    return Refusal(operator, module_path(node) or "forward", source_line(node), why or (known.remedy if known else ""))


def describe_refusals(network: str, refusals: Sequence[Refusal]) -> UnsupportedOpError:
    """The error that lists all refusals, those of one operator for one reason together."""
    groups: dict[tuple[str, str], list[Refusal]] = {}
    for refusal in refusals:
        groups.setdefault((refusal.operator, refusal.why), []).append(refusal)
    listed = [_describe(operator, why, found) for (operator, why), found in groups.items()]
    if len(listed) > 1:
        listed = [f"({index}) {text}" for index, text in enumerate(listed, 1)]
    return UnsupportedOpError(
        f"{network}: outside the vocabulary of NPU-native operators: {'; '.join(listed)}; {ADVICE}"
    )


def _describe(operator: str, why: str, found: Sequence[Refusal]) -> str:
    places = ", ".join(dict.fromkeys(refusal.place for refusal in found))
    lines = ", ".join(dict.fromkeys(refusal.line for refusal in found if refusal.line))
    npus = ", ".join(refusing_npus(operator))
    parts = (f" in {lines}" if lines else "", f": {why}" if why else "", f" [refused by {npus}, too]" if npus else "")
    return f"{operator} at {places} ({len(found)}x){''.join(parts)}"


def refusing_npus(operator: str) -> tuple[str, ...]:
    """The NPUs whose tables do not take what a converter writes for an operator outside the vocabulary."""
    kind = OUTSIDE[operator].tflite if operator in OUTSIDE else ""
    rows = {table.npu: table.rows.get(kind) for table in load_tables()}
    return tuple(npu for npu, row in rows.items() if row is not None and row.supported is Supported.NO)
