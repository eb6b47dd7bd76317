"""`edgesr bench`: latency."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.atomic import write_atomically
from edgesr.cli.console import Size, output_options, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from edgesr.api.benchmarking import HostBenchmark

THREADS = click.IntRange(1, 256)
"""More than any phone or workstation has; the runtimes abort where the system grants no more."""


@click.command(short_help="Time exported files beside PyTorch on this machine.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--device", type=click.Choice(["host"]), default="host", show_default=True, help="Where to run.")
@click.option("--size", type=Size(), help="Input size (default: the file's own).")
@click.option("--runs", type=click.IntRange(1), default=30, show_default=True, help="Timed runs of each file.")
@click.option("--warmup", type=click.IntRange(0), default=5, show_default=True, help="Untimed runs before.")
@click.option("--threads", type=THREADS, default=1, show_default=True, help="Threads of every runtime.")
@click.option("--output", "-o", "out", type=click.Path(path_type=Path), help="Also write the JSON here.")
@output_options
def bench(
    path: Path, device: str, size: tuple[int, int] | None, runs: int, warmup: int, threads: int, out: Path | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Time PATH, an artifact or a whole export folder, beside PyTorch eager: interleaved runs, ratios from one run."""
    with progress_bar(quiet or as_json) as progress:
        from edgesr.api.benchmarking import bench as run_bench

        result = run_bench(path, size, runs, warmup, threads, progress)
    if as_json:
        print_json(result.to_json())
    elif not quiet:
        _print_bench(result)
    if out is not None:
        with write_atomically(out) as temporary:
            temporary.write_text(json.dumps(result.to_json(), indent=2) + "\n", encoding="utf-8")


def _print_bench(result: HostBenchmark) -> None:
    rows = [
        (
            r.name,
            r.runner,
            f"{r.median_ms:.2f}",
            f"{r.p90_ms:.2f}",
            f"{r.min_ms:.2f}",
            str(len(r.latencies_ms)),
            f"{result.ratio(r):.2f}",
        )
        for r in result.results
    ]
    print_table(("file", "runner", "median ms", "p90 ms", "min ms", "runs", "ratio"), rows, right=(2, 3, 4, 5, 6))
    height, width = result.size
    click.echo(f"\n{height}x{width} input, {result.threads} thread(s), {result.environment['processor']}")
    click.echo("ratio: the median over that of PyTorch eager in the same run")
    for warning in result.warnings():
        click.echo(f"warning: {warning}")
