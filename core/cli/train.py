"""`edgesr train`: photographs to weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.cli.console import clear_line, output_options, print_json, progress_bar

if TYPE_CHECKING:
    from edgesr.api.training import TrainingResult
    from edgesr.model.training.training_log import LogRecord

MINUTE_S = 60


@click.command(short_help="Train a network on a folder of photographs.")
@click.option(
    "--config", "-c", "config", required=True, metavar="NAME|FILE",
    help="A TOML file, or the name of a shipped one, like spanv2_x4.",
)  # fmt: skip
@click.option("--images", type=click.Path(path_type=Path), help="The folder of photographs (else the file's).")
@click.option("--validation", type=click.Path(path_type=Path), help="A folder of other photographs, only measured on.")
@click.option("--teacher", type=click.Path(path_type=Path), help="A checkpoint of the same scale to learn from.")
@click.option("--resume", is_flag=True, help="Go on with the unfinished run of OUTPUT.")
@click.option(
    "--output", "-o", "output", type=click.Path(path_type=Path), required=True,
    help="The weights to write, .safetensors; log, plot, card and state go beside them.",
)  # fmt: skip
@output_options
def train(
    config: str, images: Path | None, validation: Path | None, teacher: Path | None, resume: bool, output: Path,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Train the network that a configuration describes; Ctrl-C saves, and --resume goes on.

    On several GPUs: torchrun --nproc-per-node N -m edgesr.cli train ... (docs/training.md).
    """
    silent = quiet or as_json or os.environ.get("RANK", "0") != "0"
    with progress_bar(silent) as progress:
        from edgesr.api.training import TrainingRequest, report_nothing
        from edgesr.api.training import train as run_training

        request = TrainingRequest(config, output, images, validation, teacher, resume)
        result = run_training(request, progress, report_nothing if silent else _print_record)
    if not result.leads:
        return
    if as_json:
        print_json(result.to_json())
    elif not quiet:
        _print_result(result)


def _print_record(record: LogRecord) -> None:
    """One line on stderr, above the bar where there is one."""
    measured = "" if record.validation_psnr_db is None else f", validation {record.validation_psnr_db:.3f} dB"
    line = (
        f"step {record.step}, stage {record.stage}: loss {record.loss:.5f}, crops {record.train_psnr_db:.2f} dB"
        f"{measured}, rate {record.learning_rate:.2e}, {_minutes(record.elapsed_s)}, "
        f"{_minutes(record.seconds_left)} left"
    )
    clear_line()
    click.echo(line, err=True)


def _print_result(result: TrainingResult) -> None:
    figures = {"crops": result.train_psnr_db, "validation": result.validation_psnr_db}
    psnr = "".join(f", {name} {value:.3f} dB" for name, value in figures.items() if value is not None)
    click.echo(
        f"{result.weights}: {result.steps} steps on {result.photographs} photographs in {_minutes(result.seconds)}"
        f"{psnr}"
    )
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    stem = result.weights.with_suffix("")
    click.echo(f"beside it: {stem.name}.md (card), .svg (plot), .jsonl (log)")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < MINUTE_S else f"{seconds / MINUTE_S:.1f} min"
