"""What a rule's condition asks about an operator, and whether the rule holds: yes, no, or nobody can tell.

Pairs (stride, kernel, dilation) are judged by their larger side. A resize's factor is output over input, with aligned
corners of one less each; factors that differ between the axes are not a number, which is in no list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgesr.export.npu.file_operator import DType, FileOperator
from edgesr.export.npu.tables import Condition, Relation, Rule, Supported
from edgesr.target import Format

Fact = str | float | bool | None
"""None: it cannot be known."""
UNTOLD = ("op_supported", "format", "kind")
"""What a reason need not repeat: it stands beside the operator's name, or in the rule's own words."""


@dataclass(frozen=True)
class Setting:
    """What a rule may ask that is not in the operator: the SoC, the whole network's inputs, the row's word, the format.

    A graph that is no file yet is judged as the TFLite file that it would be.
    """

    soc: str | None
    input_rank: int
    supported: Supported
    format: Format = Format.TFLITE


def holds(rule: Rule, op: FileOperator, setting: Setting) -> bool | None:
    """Whether all conditions hold; None where that hangs on what cannot be known."""
    verdicts = [_compare(condition, FACTS[condition.fact](op, setting)) for condition in rule.conditions]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def describe(rule: Rule, op: FileOperator, setting: Setting) -> str:
    """The rule's reason with what was found, as 'stride: stride is 4, above 2'."""
    parts = []
    for condition in rule.conditions:
        found = FACTS[condition.fact](op, setting)
        if condition.fact not in UNTOLD:
            parts.append(f"{condition.fact} is {_shown(found)}{_limit(condition)}")
    return ": ".join(x for x in (rule.why, ", ".join(parts)) if x)


def _compare(condition: Condition, found: Fact) -> bool | None:
    if found is None:
        return None
    wanted = condition.value
    if isinstance(wanted, tuple):
        return (found in wanted) is (condition.relation is Relation.IN)
    if condition.relation in (Relation.GT, Relation.LT):
        a, b = float(found), float(wanted)
        return a > b if condition.relation is Relation.GT else a < b
    return (found == wanted) is (condition.relation is Relation.IS)


def _shown(found: Fact) -> str:
    if isinstance(found, float) and not isinstance(found, bool):
        return "not the same for both axes" if math.isnan(found) else f"{found:g}"
    return "unknown" if found is None else str(found).lower() if isinstance(found, bool) else str(found)


def _limit(condition: Condition) -> str:
    value = condition.value
    listed = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    words = {
        Relation.GT: f", above {listed}",
        Relation.LT: f", below {listed}",
        Relation.NE: f", not {listed}",
        Relation.NOT_IN: f", none of {listed}",
    }
    return words.get(condition.relation, "")


def scale_factor(op: FileOperator, _setting: Setting | None = None) -> float | None:
    """By how much a resize enlarges; not a number where the axes differ."""
    a = op.attributes
    if a.input_hw is None or a.output_hw is None:
        return None
    less = 1 if a.align_corners else 0
    if min(a.input_hw) <= less:
        return None
    height, width = ((o - less) / (i - less) for i, o in zip(a.input_hw, a.output_hw, strict=True))
    return height if height == width else math.nan


def _is_power_of_two(op: FileOperator, setting: Setting) -> bool | None:
    scale = scale_factor(op, setting)
    if scale is None:
        return None
    return scale >= 1 and scale.is_integer() and int(scale) & (int(scale) - 1) == 0


def _remainder(op: FileOperator, _setting: Setting) -> float | None:
    a = op.attributes
    if a.input_hw is None or a.stride is None or min(a.stride) < 1:
        return None
    return max(n % s for n, s in zip(a.input_hw, a.stride, strict=True))


def _is_quantized(op: FileOperator, _setting: Setting) -> bool:
    integers = (DType.INT8, DType.UINT8, DType.INT16, DType.UINT16)
    return all(tensor.is_quantized for tensor in op.activations if tensor.dtype in integers)


def _smallest_side(op: FileOperator, _setting: Setting) -> float | None:
    a = op.attributes
    return None if a.input_hw is None or a.in_channels is None else min(*a.input_hw, a.in_channels)


def _is_square(op: FileOperator, _setting: Setting) -> bool | None:
    size = op.attributes.output_hw
    return None if size is None else size[0] == size[1]


def _first_dtype(op: FileOperator) -> str | None:
    return next((tensor.dtype.value for tensor in op.inputs if not tensor.is_constant), None)


def _larger(pair: tuple[int, int] | None) -> float | None:
    return None if pair is None else max(pair)


def _area(pair: tuple[int, int] | None) -> float | None:
    return None if pair is None else pair[0] * pair[1]


def _bias_dtype(op: FileOperator, _setting: Setting) -> str | None:
    a = op.attributes
    if a.has_bias is None:
        return None
    return a.bias_dtype.value if a.bias_dtype is not None else "none"


FACTS: Mapping[str, Callable[[FileOperator, Setting], Fact]] = {
    "dtype": lambda op, _: op.dtype.value,
    "input_dtype": lambda op, _: _first_dtype(op),
    "output_dtype": lambda op, _: op.outputs[0].dtype.value if op.outputs else None,
    "bias_dtype": _bias_dtype,
    "quantized": _is_quantized,
    "rank": lambda op, _: op.rank,
    "weight_rank": lambda op, _: op.attributes.weight_rank,
    "subgraph_input_rank": lambda _, setting: setting.input_rank,
    "op_supported": lambda _, setting: None if setting.supported is Supported.UNKNOWN else
    setting.supported is Supported.YES,
    "soc": lambda _, setting: setting.soc,
    "format": lambda _, setting: setting.format.value,
    "kind": lambda op, _: op.table_kind,
    "fused_activation": lambda op, _: op.attributes.activation,
    "padding": lambda op, _: op.attributes.padding,
    "stride": lambda op, _: _larger(op.attributes.stride),
    "kernel": lambda op, _: _larger(op.attributes.kernel),
    "dilation": lambda op, _: _larger(op.attributes.dilation),
    "input_hw_mod_stride": _remainder,
    "hw_product": lambda op, _: _area(op.attributes.input_hw),
    "in_channels": lambda op, _: op.attributes.in_channels,
    "depth_multiplier": lambda op, _: op.attributes.depth_multiplier,
    "batch": lambda op, _: op.attributes.batch,
    "scale_factor": scale_factor,
    "scale_factor_power_of_two": _is_power_of_two,
    "half_pixel_centers": lambda op, _: op.attributes.half_pixel_centers,
    "output_square": _is_square,
    "axes_include_channel": lambda op, _: op.attributes.axes_include_channel,
    "min_hwc": _smallest_side,
    "axis_equals_batch_dims": lambda op, _: op.attributes.axis_equals_batch_dims,
    "batch_dims": lambda op, _: op.attributes.batch_dims,
    "approximate": lambda op, _: op.attributes.approximate,
    "beta": lambda op, _: op.attributes.beta,
    "ellipsis_mask": lambda op, _: op.attributes.ellipsis_mask,
    "offset": lambda op, _: op.attributes.offset,
}  # fmt: skip
