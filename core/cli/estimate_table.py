"""Estimates of NPU compilers as tables on stdout. Each says that it is an estimate, and whose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from edgesr.cli.console import print_table

if TYPE_CHECKING:
    from edgesr.export.npu.vela_report import LayerEstimate, NpuEstimate

KIB, MIB = 1024, 1024 * 1024


def print_estimate(estimate: NpuEstimate) -> None:
    """One network: its layers, without those that are fused into others, then the whole."""
    header = ("layer", "operator", "cycles", "est. ms", "share", "MACs", "MACs used", "bound by")
    rows = [_row(layer, estimate.cycles) for layer in estimate.layers if layer.cycles]
    print_table(header, rows, right=range(2, 7))
    click.echo(
        f"estimate: {estimate.cycles:,} cycles, {estimate.milliseconds:.2f} ms; traffic "
        f"{estimate.sram_traffic_bytes / MIB:.1f} MiB SRAM, {estimate.off_chip_traffic_bytes / MIB:.1f} MiB off-chip; "
        f"peak SRAM {estimate.peak_sram_bytes / KIB:.0f} of {estimate.arena_bytes / KIB:.0f} KiB"
    )
    click.echo(estimate.label)


def print_comparison(estimates: Mapping[str, NpuEstimate]) -> None:
    """Several files, by what they are; each one's time as a multiple of the first's."""
    first = next(iter(estimates.values()))
    header = ("file", "est. ms", "times", "cycles", "off-chip MiB", "peak SRAM KiB")
    rows = [
        (
            name,
            f"{estimate.milliseconds:.2f}",
            f"{estimate.cycles / first.cycles:.1f}" if first.cycles else "",
            f"{estimate.cycles:,}",
            f"{estimate.off_chip_traffic_bytes / MIB:.1f}",
            f"{estimate.peak_sram_bytes / KIB:.0f}",
        )
        for name, estimate in estimates.items()
    ]
    print_table(header, rows, right=range(1, len(header)))
    for label in dict.fromkeys(estimate.label for estimate in estimates.values()):
        click.echo(label)


def _row(layer: LayerEstimate, total: int) -> tuple[str, ...]:
    return (
        layer.name,
        layer.operator,
        f"{layer.cycles:,}",
        f"{layer.milliseconds:.3f}",
        f"{layer.cycles / total:.1%}",
        f"{layer.macs:,}",
        f"{layer.utilisation:.0%}",
        layer.bound_by,
    )
