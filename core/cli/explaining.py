"""Why exported graphs have the form that they have, for `edgesr export --explain`, read from the artifacts' facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from edgesr.cli.console import print_table

if TYPE_CHECKING:
    from edgesr.artifact import Artifact


def print_explanations(artifacts: Sequence[Artifact]) -> None:
    """What each NPU's profile asked for, the folds that ran, and every graph form with the reason for its choice."""
    shown: list[dict[str, object]] = []
    for artifact in artifacts:
        facts = {key: artifact.facts.get(key) for key in ("npu", "folds", "graph", "quantization")}
        if facts not in shown:  # several files of one network are explained once
            shown.append(facts)
            _print_one(artifact.file, artifact.facts)


def _print_one(file: str, facts: Mapping[str, Any]) -> None:
    npu, graph, quantization = facts["npu"], facts["graph"], facts.get("quantization", {})
    click.echo(f"Why {file} has its form (NPU profile {npu['profile']}):")
    click.echo(f"  tail: {npu['tail']}, because {npu['tail_why']}")
    for fold in facts["folds"]:
        why = npu.get("folds", {}).get(fold["fold"])
        because = f", because {why}" if why else ""
        click.echo(f"  fold {fold['fold']} ({fold['exactness']}): {', '.join(fold['changed'])}{because}")
    forms = quantization.get("graph_forms", [])
    if forms:
        growth = quantization["max_mac_growth"]
        click.echo(f"  forms that spare a tensor its 8 bits, within {growth:g} times the float graph's MACs:")
        print_table(("  tensor", "alone dB", "MACs/pixel", "taken", "why"), [_form_row(f) for f in forms], right=(1, 2))
    for tensor, why in quantization.get("kept_at_8_bits", {}).items():
        click.echo(f"  {tensor} keeps 8 bits: {why}")
    click.echo(f"  in all {graph['macs_per_input_pixel']:,.0f} MACs per input pixel\n")


def _form_row(form: Mapping[str, Any]) -> tuple[str, ...]:
    added = f"{form['added_macs_per_input_pixel']:+,.0f}"
    taken = "yes" if form["taken"] else "no"
    return f"  {form['tensor']}", f"{form['alone_db']:.1f}", added, taken, form["why"]
