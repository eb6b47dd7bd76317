"""`edgesr score`: quality, cost and the NTIRE efficient super-resolution challenge's score of networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.atomic import write_atomically
from edgesr.cli.console import Size, output_options, print_json, print_table, progress_bar
from edgesr.cli.own_networks import own_network_options, own_networks

if TYPE_CHECKING:
    from edgesr.runtime.score_report import ScoredModel, ScoreReport

MOST_THREADS = 256
"""More than any phone or workstation has."""
HEADER = (
    "model", "network", "params M", "FLOPs G", "acts M", "convs", "PSNR dB", "Y-PSNR dB", "runtime ms", "ratio",
    "score",
)  # fmt: skip
WORDS = 2
"""Columns that are left-aligned."""
NOTHING = "-"


@click.command(short_help="Score networks as the NTIRE efficient SR challenge does.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@own_network_options
@click.option("--baseline", metavar="MODEL", help="One of the MODELs, to score the others by (default: the only SPAN).")
@click.option("--lr", type=click.Path(path_type=Path), help="A folder of low-resolution images, for PSNR.")
@click.option("--hr", type=click.Path(path_type=Path), help="The same images at high resolution.")
@click.option("--size", type=Size(), default="256x256", show_default=True, help="Input size of the timed runs.")
@click.option("--runs", type=click.IntRange(0), default=50, show_default=True, help="Timed runs of each; 0: none.")
@click.option("--warmup", type=click.IntRange(0), default=5, show_default=True, help="Untimed runs before.")
@click.option(
    "--threads", type=click.IntRange(1, MOST_THREADS), default=1, show_default=True, help="Threads of the timed runs."
)
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Also draw PSNR over runtime, FLOPs and parameters, as SVG."
)
@click.option("--output", "-o", "out", type=click.Path(path_type=Path), help="Also write the JSON here.")
@output_options
def score(
    models: tuple[str, ...], weights: tuple[Path, ...], inits: tuple[dict[str, object], ...], baseline: str | None,
    lr: Path | None, hr: Path | None, size: tuple[int, int], runs: int, warmup: int, threads: int, plot: Path | None,
    out: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Score each MODEL, a bundled model, a checkpoint or a class: PSNR, parameters, FLOPs, runtime, score.

    A class is named path/to/net.py:Class and needs --weights. That EXECUTES the file, with all that it does: name only
    files that you would run.

    By the protocol of the NTIRE efficient super-resolution challenge, in PyTorch eager on this machine: FLOPs are
    multiply-accumulates for a 256x256 input. The score compares with the baseline, from runs that take turns.
    """
    _refuse_idle_options(lr, hr, plot, baseline, runs)
    networks = own_networks(models, weights, inits)
    with progress_bar(quiet or as_json) as progress:
        from edgesr.api.scoring import TimedRuns
        from edgesr.api.scoring import score as run_score

        report = run_score(networks, lr, hr, baseline, TimedRuns(size, runs, warmup, threads), progress)
    if as_json:
        print_json(report.to_json())
    elif not quiet:
        print_scores(report)
    if out is not None:
        _write_text(json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n", out)
    if plot is not None:
        from edgesr.runtime.score_plot import draw_scores

        _write_text(draw_scores(report), plot)


def _refuse_idle_options(lr: Path | None, hr: Path | None, plot: Path | None, baseline: str | None, runs: int) -> None:
    """Fail for options that need others, before anything runs."""
    if (lr is None) != (hr is None):
        raise click.UsageError("--lr and --hr belong together; give both, or neither")
    if plot is not None and lr is None:
        raise click.UsageError("--plot draws PSNR; give --lr and --hr, too")
    if baseline is not None and not runs:
        raise click.UsageError("--baseline has no use with --runs 0; leave out one of the two")


def print_scores(report: ScoreReport) -> None:
    """The table without columns that nothing was measured for, what the columns mean, notes and warnings."""
    rows = [_row(report, model) for model in report.models]
    kept = [i for i in range(len(HEADER)) if any(row[i] != NOTHING for row in rows)]
    table = [tuple(row[i] for i in kept) for row in (HEADER, *rows)]
    print_table(table[0], table[1:], right=range(WORDS, len(kept)))
    height, width = report.models[0].complexity.size
    click.echo(
        f"\nFLOPs: multiply-accumulates for a {height}x{width} input; acts: values that convolutions put out there"
    )
    quality = report.models[0].quality
    if quality is not None:
        click.echo(f"PSNR: {quality.n} images of {quality.lr_folder}, {quality.crop}-pixel crop, uint8")
    _print_timing(report)
    for note in report.notes:
        click.echo(f"note: {note}")
    for warning in report.warnings:
        click.echo(f"warning: {warning}")


def _print_timing(report: ScoreReport) -> None:
    timing = report.models[0].timing
    if timing is None:
        return
    height, width = report.size
    threads = f"{report.threads} thread{'s' if report.threads > 1 else ''}"
    where = f"{threads}, {report.environment.get('processor', 'this machine')}"
    click.echo(f"runtime: median of {timing.runs} runs at {height}x{width}, PyTorch eager float32, {where}")
    if report.baseline is not None:
        click.echo(f"ratio, score: beside {report.baseline}, whose score is exp(2) = 7.389; lower is better")


def _row(report: ScoreReport, model: ScoredModel) -> tuple[str, ...]:
    count, ratio, score = model.complexity, report.runtime_ratio(model), report.score(model)
    return (
        model.label,
        model.network,
        f"{count.parameters / 1e6:.3f}",
        f"{count.macs / 1e9:.2f}",
        f"{count.activations / 1e6:.2f}",
        str(count.convolutions),
        NOTHING if model.quality is None else f"{model.quality.psnr_db:.3f}",
        NOTHING if model.quality is None else f"{model.quality.psnr_y_db:.3f}",
        NOTHING if model.timing is None else f"{model.timing.median_ms:.2f}",
        NOTHING if ratio is None else f"{ratio:.3f}",
        NOTHING if score is None else f"{score.final:.3f}",
    )


def _write_text(text: str, path: Path) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
