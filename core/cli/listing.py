"""`edgesr models` and `edgesr targets`: what there is."""

from __future__ import annotations

import dataclasses

import click

from edgesr.cli.console import output_options, print_json, print_table
from edgesr.target import ALL_TARGETS, Target


@click.command(short_help="List bundled models and recognised architectures.")
@output_options
def models(as_json: bool, quiet: bool) -> None:
    """List the bundled models and the architectures whose checkpoints are recognised."""
    from edgesr.model.registry import ARCHITECTURES, BUNDLED_MODELS

    if as_json:
        bundled = [{"name": m.name, "architecture": m.architecture.name, "summary": m.summary} for m in BUNDLED_MODELS]
        known = [{"name": a.name, "summary": a.summary} for a in ARCHITECTURES]
        print_json({"models": bundled, "architectures": known})
    elif not quiet:
        print_table(
            ("model", "architecture", "weights"), [(m.name, m.architecture.name, m.summary) for m in BUNDLED_MODELS]
        )
        click.echo("\nCheckpoints of these architectures are recognised by their keys (--weights FILE):")
        print_table(("architecture", "what it is"), [(a.name, a.summary) for a in ARCHITECTURES])


@click.command(short_help="List what can be exported, and for which NPUs.")
@output_options
def targets(as_json: bool, quiet: bool) -> None:
    """List what can be exported, with I/O types, layouts and runners (defaults first), and the NPUs of --npu."""
    from edgesr.npu_profile import NPU_PROFILES

    if as_json:
        npus = [{"name": npu.name, "tail": npu.tail.value, "summary": npu.summary} for npu in NPU_PROFILES]
        print_json({"targets": [_plain(dataclasses.asdict(target)) for target in ALL_TARGETS], "npus": npus})
    elif not quiet:
        print_table(("target", "I/O", "layout", "runners", "what it is"), [_target_row(t) for t in ALL_TARGETS])
        click.echo("")
        print_table(("--npu", "tail", "what it is"), [(npu.name, npu.tail.value, npu.summary) for npu in NPU_PROFILES])


def _target_row(target: Target) -> tuple[str, ...]:
    io, layouts = ([x.value for x in choices] for choices in (target.io, target.layouts))
    return target.name, ", ".join(io), ", ".join(layouts), ", ".join(target.runners), target.summary


def _plain(fields: dict[str, object]) -> dict[str, object]:
    return {
        name: [getattr(x, "value", x) for x in v] if isinstance(v, tuple) else getattr(v, "value", v)
        for name, v in fields.items()
    }
