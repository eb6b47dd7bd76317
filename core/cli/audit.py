"""`edgesr audit`: which NPU runs which operator, who says so, and what would change it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.cli.console import output_options, print_json, print_table, progress_bar
from edgesr.cli.own_networks import own_network_options, own_networks
from edgesr.cli.report import report_option
from edgesr.errors import PlacementError

if TYPE_CHECKING:
    from edgesr.api.auditing import AuditReport, NpuAudit, Subject
    from edgesr.export.npu.placement import OperatorPlacement, Placement

SHOWN_NAMES = 3
NAME_LENGTH = 40


@click.command(short_help="Say which operators of a file or model run on which NPU.")
@click.argument("artifact", metavar="ARTIFACT|MODEL")
@own_network_options
@click.option(
    "--npu", "npus", multiple=True, metavar="NAME", help="NPU family or SoC, repeatable (default: every one)."
)
@click.option("--fail-on", type=click.Choice(["cpu"]), help="Exit 3 where an operator runs on the CPU.")
@report_option
@output_options
def audit(
    artifact: str, weights: tuple[Path, ...], inits: tuple[dict[str, object], ...], npus: tuple[str, ...],
    fail_on: str | None, report_file: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Say which operators run on which NPU, with the reason and the remedy for those that do not.

    ARTIFACT is any .tflite or .onnx file, or an export folder; MODEL a bundled model's name or a checkpoint, which is
    audited after edgesr's folds and as captured. 'table' rows are dated facts, 'compiled' rows what a vendor's compiler
    did just now.

    MODEL may also be a class of yours, path/to/net.py:Class with --weights. That EXECUTES the file, with all that it
    does: name only files that you would run.
    """
    (network,) = own_networks([artifact], weights, inits)
    with progress_bar(quiet or as_json) as progress:
        from edgesr.api.auditing import audit as run_audit

        report = run_audit(network, npus, progress)
    if as_json:
        print_json(report.to_json())
    elif not quiet:
        for index, subject in enumerate(report.subjects):
            click.echo("\n" if index else "", nl=False)
            _print_subject(subject)
    if report_file is not None:
        from edgesr.api.reporting import report_audit

        report_audit(report, artifact, report_file)
    if fail_on and report.on_cpu:
        raise PlacementError(_gate_message(report))


def _gate_message(report: AuditReport) -> str:
    (subject, npu, count), others = report.on_cpu[0], len(report.on_cpu) - 1
    more = f", and so do {others} more networks or NPUs" if others else ""
    what = "1 operator fails" if count == 1 else f"{count} operators fail"
    return f"{subject}: {what} --fail-on cpu on {npu}{more}; apply the remedies that edgesr audit prints"


def _print_subject(subject: Subject) -> None:
    from edgesr.export.npu.placement import Evidence, Place

    click.echo(subject.name)
    for note in subject.notes:
        click.echo(f"  {note}")
    click.echo()
    rows = []
    for audit in subject.audits:
        for placement in audit.placements:
            counts = [str(placement.count(place)) for place in (Place.NPU, Place.CPU, Place.UNKNOWN)]
            whole = "100 %" if placement.is_whole else ""
            pieces = "?" if placement.partitions is None else str(placement.partitions)
            rows.append((audit.npu, placement.evidence.value, *counts, pieces, whole, _witness(placement)))
    header = ("npu", "evidence", "on NPU", "CPU", "unknown", "partitions", "whole", "who says so")
    print_table(header, rows, right=(2, 3, 4, 5))
    for place, title in ((Place.CPU, "On the CPU"), (Place.UNKNOWN, "Unknown")):
        for evidence in Evidence:
            groups = _groups(subject.audits, place, evidence)
            if groups:
                click.echo(f"\n{title} ({evidence.value}):")
            for group in groups:
                _print_group(group)
    _print_remarks(subject.audits)


def _witness(placement: Placement) -> str:
    """Who says so, and for which NPU a compiler was asked: a family is compiled for one of its members."""
    from edgesr.export.npu.placement import Evidence

    if placement.evidence is Evidence.TABLE or " for " in placement.source:
        return placement.source
    return f"{placement.source} for {placement.npu}"


@dataclass(frozen=True)
class _Group:
    """Operators with one reason and remedy, and the NPUs that it holds for; `is_all` where there are no others."""

    npus: tuple[str, ...]
    operators: tuple[OperatorPlacement, ...]
    is_all: bool


def _groups(audits: Sequence[NpuAudit], place: object, evidence: object) -> list[_Group]:
    """Operators at a place by reason and remedy; NPUs with the same operators for the same reason stand together.

    What a table does not know is left out where a compiler has answered.
    """
    from edgesr.export.npu.placement import Evidence, Place

    found: dict[tuple[OperatorPlacement, ...], tuple[list[str], bool]] = {}
    for audit in audits:
        for placement in audit.placements:
            answered = audit.compiled is not None and place is Place.UNKNOWN and evidence is Evidence.TABLE
            if placement.evidence is evidence and not answered:
                for operators in _alike(placement, place):
                    npus, _ = found.setdefault(operators, ([], len(operators) == len(placement.operators)))
                    npus.append(audit.npu)
    return [_Group(tuple(npus), operators, is_all) for operators, (npus, is_all) in found.items()]


def _alike(placement: Placement, place: object) -> list[tuple[OperatorPlacement, ...]]:
    by_reason: dict[tuple[str, str], list[OperatorPlacement]] = {}
    for op in placement.operators:
        if op.place is place:
            by_reason.setdefault((op.reason, op.remedy), []).append(op)
    return [tuple(operators) for operators in by_reason.values()]


def _print_group(group: _Group) -> None:
    kinds = Counter(op.kind for op in group.operators)
    counted = ", ".join(kind if count == 1 else f"{kind} x{count}" for kind, count in kinds.most_common())
    names = ", ".join(_short(op.name) for op in group.operators[:SHOWN_NAMES])
    more = ", ..." if len(group.operators) > SHOWN_NAMES else ""
    listed = f"all {len(group.operators)} operators" if group.is_all else f"{counted} ({names}{more})"
    click.echo(f"  {', '.join(group.npus)}: {listed}")
    click.echo(f"    {group.operators[0].reason}")
    if group.operators[0].remedy:
        click.echo(f"    remedy: {group.operators[0].remedy}")


def _short(name: str) -> str:
    """The end of a long name, which says more than its beginning; safe to print."""
    name = "".join(x if x.isprintable() else "?" for x in name)
    return name if len(name) <= NAME_LENGTH else f"...{name[-NAME_LENGTH:]}"


def _print_remarks(audits: Sequence[NpuAudit]) -> None:
    """What is no placement: failures, warnings and notes, each once for all NPUs that it holds for."""
    found: dict[str, list[str]] = {}
    for audit in audits:
        failed = [audit.failure] if audit.failure else []
        logs = [f"the compiler's log is {placement.log}" for placement in audit.placements if placement.log]
        for text in (*failed, *(f"warning: {x}" for x in audit.warnings), *audit.notes, *logs):
            found.setdefault(text, []).append(audit.npu)
    if found:
        click.echo()
    for text, npus in found.items():
        click.echo(f"{', '.join(npus)}: {text}")
