"""The tables of `edgesr bench`: results of a record, and the comparison of two."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from edgesr.cli.console import print_table

if TYPE_CHECKING:
    from edgesr.runtime.bench import Benchmark
    from edgesr.runtime.bench_compare import Comparison, RecordComparison
    from edgesr.runtime.bench_record import BenchRecord
    from edgesr.runtime.instruction_counts import InstructionCounts
    from edgesr.runtime.output_parity import OutputParity

LATENCY_HEADER = (
    "file", "runner", "threads", "median ms", "p90 ms", "min ms", "runs", "ratio", "load ms", "peak MB", "mJ",
    "MB moved", "floor ms", "output", "ran on",
)  # fmt: skip
COUNT_HEADER = ("file", "runner", "instructions", "runs", "output")
COMPARE_HEADER = ("file", "runner", "threads", "verdict", "change", "98 % interval", "seen from", "by")
NOTHING = "-"


def print_record(record: BenchRecord) -> None:
    """The results, what the columns mean, and every warning."""
    from edgesr.runtime.bench import Benchmark

    timed = [result for result in record.results if isinstance(result, Benchmark)]
    counted = [result for result in record.results if not isinstance(result, Benchmark)]
    if timed:
        rows = _without_empty_columns(LATENCY_HEADER, [_latency_row(record, result) for result in timed])
        print_table(rows[0], rows[1:], right=[i for i, name in enumerate(rows[0]) if name not in _WORDS])
    if counted:
        print_table(COUNT_HEADER, [_count_row(result) for result in counted], right=(2, 3))
    height, width = record.size
    gpu = record.environment.get("gpu")
    where = gpu or f"{_threads(record)}, {record.environment.get('processor', record.device)}"
    click.echo(f"\n{height}x{width} input, {where}")
    if record.emulated is not None:
        click.echo(f"{record.emulated}: instructions executed, no time was measured")
    if any(record.ratio(result) is not None for result in timed):
        alike = "in float32" if gpu else "at as many threads"
        click.echo(f"ratio: the median over that of PyTorch eager {alike}, in the same interleaved run")
    if any(result.floor_ms is not None for result in timed):
        click.echo("floor: what the fused kernels' bytes take at the speed of a copy, measured in the same run")
    if any(result.parity is not None and result.parity.psnr_db is not None for result in record.results):
        click.echo("output: PSNR of the timed run's own output to the reference's")
    for warning in record.all_warnings:
        click.echo(f"warning: {warning}")


_WORDS = ("file", "runner", "ran on")


def _threads(record: BenchRecord) -> str:
    counts = sorted({record.threads_of(result) for result in record.results})
    return f"{', '.join(map(str, counts))} thread{'s' if counts[-1] > 1 else ''}"


def _latency_row(record: BenchRecord, result: Benchmark) -> tuple[str, ...]:
    ratio = record.ratio(result)
    return (
        result.name,
        result.runner,
        str(record.threads_of(result)),
        _ms(result.median_ms),
        _ms(result.p90_ms),
        _ms(result.min_ms),
        str(result.runs),
        NOTHING if ratio is None else f"{ratio:.2f}",
        NOTHING if result.init_ms is None else f"{result.init_ms:.0f}",
        NOTHING if result.peak_memory_bytes is None else f"{result.peak_memory_bytes / 1e6:.0f}",
        NOTHING if result.energy_mj is None else f"{result.energy_mj:.1f}",
        NOTHING if result.moved_bytes is None else f"{result.moved_bytes / 1e6:.0f}",
        NOTHING if result.floor_ms is None else _ms(result.floor_ms),
        _output(result.parity),
        result.placement or NOTHING,
    )


def _ms(ms: float) -> str:
    """Two decimals, more for what takes less than a millisecond."""
    return f"{ms:.2f}" if ms >= 1 else f"{ms:.4f}"


def _count_row(result: InstructionCounts) -> tuple[str, ...]:
    return (
        result.name, result.runner, f"{result.median:,}", str(len(result.instructions)), _output(result.parity),
    )  # fmt: skip


def _output(parity: OutputParity | None) -> str:
    """What the output was, in a word."""
    if parity is None:
        return NOTHING
    if parity.equal:
        return "equal"
    if parity.psnr_db is not None:
        return f"{parity.psnr_db:.1f} dB"
    return f"differs by {parity.max_difference:.3g} {parity.unit}".rstrip()


def _without_empty_columns(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The table without columns in which no row says anything."""
    kept = [i for i in range(len(header)) if any(row[i] != NOTHING for row in rows)]
    return [tuple(row[i] for i in kept) for row in (header, *rows)]


def print_comparison_of_records(comparison: RecordComparison) -> None:
    """A verdict for each artifact, and what a reader should know."""
    print_table(COMPARE_HEADER, [_comparison_row(row) for row in comparison.rows], right=(2, 4, 5, 6))
    click.echo("\nchange: the second record's level (the lower quartile of each process) over the first's, less one;")
    click.echo("seen from: the smallest change that these runs would have shown with a probability of 95 %")
    for note in comparison.notes:
        click.echo(f"note: {note}")
    for row in comparison.rows:
        for note in row.notes:
            click.echo(f"note: {row.name}: {note}")


def _comparison_row(row: Comparison) -> tuple[str, ...]:
    exact = row.low == row.high
    return (
        row.name,
        row.runner,
        str(row.threads),
        row.words,
        _percent(row.ratio),
        "exact" if exact else f"{_percent(row.low)} .. {_percent(row.high)}",
        "exact" if exact else _percent(row.smallest),
        row.measure.value if row.yardstick is None else f"{row.measure.value} to {row.yardstick}",
    )


def _percent(ratio: float) -> str:
    return "unknown" if math.isinf(ratio) else f"{ratio - 1:+.1%}"
