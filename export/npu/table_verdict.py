"""What a table says about an operator: it runs on the NPU, on the CPU, or nobody knows.

The NPU gets an operator only where the table's source vouches for it: the row takes its type, no rule refuses it, no
refused probe is like it, its sizes are fixed, and what 'supported' proves is a verdict of the vendor's own compiler. A
rule whose condition cannot be decided, a type that no probe had, and an operator that is not in the table make it
unknown. An operator whose result the NPU's compiler would get wrong is placed on the CPU, where it has to stay, and
where one operator fails the whole model, no operator runs on the NPU.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from edgesr.export.npu.file_operator import FileOperator, OperatorList
from edgesr.export.npu.partitions import count_partitions
from edgesr.export.npu.placement import Evidence, OperatorPlacement, Place, Placement
from edgesr.export.npu.remedies import Cause, remedy_for
from edgesr.export.npu.rule_facts import FACTS, Setting, describe, holds
from edgesr.export.npu.tables import Acceptance, NpuTable, Outcome, Rule, Supported, TableRow
from edgesr.target import Format

UNDECIDED = "nobody can tell"


class Severity(enum.Enum):
    """How far a refusal reaches."""

    OPERATOR = "operator"
    MODEL = "model"


@dataclass(frozen=True)
class Verdict:
    """Where an operator runs by a table, why not on the NPU and what kind of reason that is, and what to look at."""

    place: Place
    cause: Cause
    reason: str = ""
    severity: Severity = Severity.OPERATOR
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TablePlacement:
    """A placement by a table, with what its rules warn of for operators that stay."""

    placement: Placement
    warnings: tuple[str, ...]


PROBE_VARIANTS: Mapping[str, Mapping[str, object]] = {
    "relu6": {"fused_activation": "RELU6"},
    "relu_n1_to_1": {"fused_activation": "RELU_N1_TO_1"},
    "rank5": {"rank": 5},
    "rank6": {"rank": 6},
    "f_to_u8": {"output_dtype": "uint8"},
    "f32_to_q": {"input_dtype": "float32"},
    "x3_hp": {"scale_factor": 3.0, "half_pixel_centers": True},
    "x4_hp": {"scale_factor": 4.0, "half_pixel_centers": True},
    "s3k3_same": {"stride": 3, "kernel": 3, "padding": "SAME"},
    "s4k4_same": {"stride": 4, "kernel": 4, "padding": "SAME"},
    "s4k4_valid": {"stride": 4, "kernel": 4, "padding": "VALID"},
    "s4k8_same": {"stride": 4, "kernel": 8, "padding": "SAME"},
    "c_keep": {"axes_include_channel": True},
}
"""Refused variants of probes, by the facts in which they differ from a plain one. What is not here was refused with all
other variants of its type, or because of what a rule says."""


def place_by_table(operators: OperatorList, table: NpuTable, soc: str | None = None) -> TablePlacement:
    """The placement of all operators of a network by one table; `soc` is asked by rules that hold for some alone."""
    format_ = operators.format or Format.TFLITE
    verdicts = [
        judge(op, table, Setting(soc, operators.input_rank, _supported(op, table), format_))
        for op in operators.operators
    ]
    pairs = list(zip(operators.operators, verdicts, strict=True))
    culprit = next((op for op, verdict in pairs if verdict.severity is Severity.MODEL), None)
    placed = [_placed(op, verdict, table, culprit) for op, verdict in pairs]
    partitions = None
    if all(op.place is not Place.UNKNOWN for op in placed):
        partitions = count_partitions(operators.operators, [op.place is Place.NPU for op in placed])
    warnings = [f"{op.kind} '{op.name}': {text}" for op, verdict in pairs for text in verdict.warnings]
    npu = soc or table.npu
    return TablePlacement(Placement(npu, Evidence.TABLE, table.source, tuple(placed), partitions), tuple(warnings))


def judge(op: FileOperator, table: NpuTable, setting: Setting) -> Verdict:
    """The table's verdict on one operator."""
    if op.compiled_for:
        return _unknown(Cause.COMPILED, f"it holds what {op.compiled_for} compiled; its operators are not to be seen")
    if op.is_custom:
        return _refused(Cause.CUSTOM, "a custom operator: no NPU's compiler knows it")
    row = table.rows.get(op.table_kind)
    if row is None:
        return _unknown(Cause.ABSENT, f"it is not in the table of {table.as_of}")
    rules = (*table.rules, *row.rules)
    return _by_rules(op, table, row, rules, setting) or _by_row(op, table, row, rules, setting)


def _by_rules(
    op: FileOperator, table: NpuTable, row: TableRow, rules: tuple[Rule, ...], setting: Setting
) -> Verdict | None:
    """A refusal by a rule, or doubt where one cannot be decided; None where no rule stands against the operator."""
    judged = [(rule, holds(rule, op, setting)) for rule in rules if rule.outcome is not Outcome.WARN]
    for rule, applies in judged:
        why = describe(rule, op, setting)
        why = f"{row.constraints or 'not supported'} ({why})" if setting.supported is Supported.NO else why
        if applies and rule.outcome is Outcome.FAIL_MODEL:
            return Verdict(Place.CPU, Cause.FAILS, f"it fails the whole model, not itself alone: {why}", Severity.MODEL)
        if applies and rule.outcome is Outcome.WRONG_RESULT:
            return _refused(Cause.WRONG, f"the NPU would compute a wrong result: {why}")
    for rule, applies in judged:
        if applies and rule.outcome is Outcome.REJECT:
            return _refused(_cause(rule), describe(rule, op, setting))
    if row.supported is Supported.NO:
        return None
    for rule, applies in judged:
        if applies is None:
            return _unknown(Cause.UNDECIDED, f"{UNDECIDED} whether a rule holds: {describe(rule, op, setting)}")
        if applies and rule.outcome is Outcome.UNSURE:
            return _unknown(_cause(rule), describe(rule, op, setting))
    return None


def _by_row(op: FileOperator, table: NpuTable, row: TableRow, rules: tuple[Rule, ...], setting: Setting) -> Verdict:
    """The verdict of the row itself: the operator, its type, probes like it, and what the source proves."""
    dtype = op.dtype.value
    if row.supported is Supported.NO:
        return _refused(Cause.KIND, row.constraints or "not supported")
    if op.dtype not in row.dtypes and op.dtype in row.refused:
        return _refused(Cause.DTYPE, f"{dtype} activations were refused in every probe ({_words(row)})")
    probe = _refused_probe(op, row, setting)
    if probe:
        return _refused(Cause.PROBE, f"the probe '{probe}' in {dtype}, which is like it, was refused ({_words(row)})")
    if row.supported is Supported.UNKNOWN:
        return _unknown(Cause.UNSEEN, row.constraints)
    warned = tuple(describe(r, op, setting) for r in rules if r.outcome is Outcome.WARN and holds(r, op, setting))
    if table.acceptance is Acceptance.OFFERED:
        return _unknown(Cause.UNSEEN, f"offered to {table.vendor}'s closed compiler, whose verdict nobody saw", warned)
    if op.dtype not in row.dtypes:
        return _unknown(Cause.DTYPE, f"no probe had {dtype} activations", warned)
    if not row.is_measured:
        return _unknown(Cause.UNSEEN, f"read in a source, never compiled ({_words(row)})", warned)
    if op.is_free:
        return _unknown(Cause.FREE, "its size is free; the table's source compiled fixed sizes alone", warned)
    return Verdict(Place.NPU, Cause.NONE, warnings=warned)


def _refused_probe(op: FileOperator, row: TableRow, setting: Setting) -> str | None:
    """The refused variant of the operator's type that it is like."""
    for variant in row.refused.get(op.dtype, ()):
        facts = PROBE_VARIANTS.get(variant)
        if facts is not None and all(FACTS[fact](op, setting) == value for fact, value in facts.items()):
            return variant
    return None


def _placed(op: FileOperator, verdict: Verdict, table: NpuTable, culprit: FileOperator | None) -> OperatorPlacement:
    place, cause, reason = verdict.place, verdict.cause, verdict.reason
    if culprit is not None and place is not Place.CPU:
        place, cause = Place.CPU, Cause.FAILS
        reason = f"the whole model fails to compile because of {culprit.kind} '{culprit.name}'"
        return OperatorPlacement(op.name, op.kind, place, reason, f"change {culprit.kind} '{culprit.name}'")
    remedy = "" if place is Place.NPU else remedy_for(op, cause, table)
    return OperatorPlacement(op.name, op.kind, place, reason, remedy)


def _supported(op: FileOperator, table: NpuTable) -> Supported:
    row = table.rows.get(op.table_kind)
    return Supported.UNKNOWN if row is None else row.supported


def _cause(rule: Rule) -> Cause:
    facts = {condition.fact for condition in rule.conditions}
    return Cause.DTYPE if facts & {"dtype", "input_dtype"} else Cause.RANK if "rank" in facts else Cause.RULE


def _words(row: TableRow) -> str:
    return row.constraints or "no word why"


def _refused(cause: Cause, reason: str) -> Verdict:
    return Verdict(Place.CPU, cause, reason)


def _unknown(cause: Cause, reason: str, warnings: tuple[str, ...] = ()) -> Verdict:
    return Verdict(Place.UNKNOWN, cause, reason, warnings=warnings)
