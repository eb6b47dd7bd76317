"""`edgesr run`: pictures, folders of pictures and videos through an exported file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.cli.console import clear_line, output_options, print_json, progress_bar
from edgesr.errors import ImageError

if TYPE_CHECKING:
    from edgesr.api.run_record import RunItem, RunRecord

STREAM = Path("-")
MOST_THREADS = 256
LARGEST_TILE = 16384
FORMATS = ("png", "jpeg", "webp", "bmp")


@click.command(short_help="Run a file on pictures, folders of pictures or a video.")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--input", "-i", "source", type=click.Path(path_type=Path), required=True,
    help="A picture, a folder of pictures, a video, or - for standard input.",
)  # fmt: skip
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), required=True,
    help="Where to write; a folder's output mirrors it, - is standard output.",
)  # fmt: skip
@click.option("--runner", help="The runtime to run in (the target's first by default).")
@click.option(
    "--tile", type=click.IntRange(0, LARGEST_TILE),
    help="The side of the tiles in input pixels; 0: the picture whole (default: what memory is worth).",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="Threads of the runtime (default: every core).")
@click.option("--format", "kind", type=click.Choice(FORMATS), help="Write pictures so (default: as they are named).")
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Quality of JPEG and WebP.")
@click.option("--crf", type=click.IntRange(0, 51), default=16, show_default=True, help="Quality of videos, 0 is best.")
@click.option("--overwrite", is_flag=True, help="In folders, also redo what is done, and replace files of others.")
@output_options
def run(
    artifact: Path, source: Path, output: Path, runner: str | None, tile: int | None, threads: int | None,
    kind: str | None, quality: int, crf: int, overwrite: bool, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Run ARTIFACT, a file that edgesr export wrote, on pictures or a video.

    PNG, JPEG, WebP, BMP and TIFF are read; orientation is applied, colour profile, EXIF, transparency and 16 bits are
    kept. A folder is run with all folders in it, and what is done is skipped. Videos go through ffmpeg, their sound is
    copied. Pictures are cut into tiles that leave no seam.
    """
    _refuse_streams(source, output, as_json)
    with progress_bar(quiet or as_json) as progress:
        from edgesr.api.running import RunOptions
        from edgesr.api.running import run as run_file
        from edgesr.pictures.formats import find_format

        chosen = find_format(kind) if kind else None
        size = None if tile is None else (tile, tile)
        options = RunOptions(runner, size, threads, chosen, quality, overwrite, crf)
        record = run_file(artifact, source, output, options, progress, _report)
    if as_json:
        print_json(record.to_json())
    elif not quiet:
        _print(record, to_stderr=output == STREAM)
    if record.failures:
        raise ImageError(
            f"{len(record.failures)} of {len(record.items)} {record.unit} failed, the others are done; "
            "mend or remove them and run again"
        )


def _refuse_streams(source: Path, output: Path, as_json: bool) -> None:
    """Fail for streams that cannot carry a picture."""
    if output == STREAM and as_json:
        raise click.UsageError("--json and the picture would both go to standard output; write one of them to a file")
    if output == STREAM and sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal; redirect it to a file, or name one with -o")
    if source == STREAM and sys.stdin.isatty():
        raise click.UsageError("standard input is a terminal; redirect a picture into it, or name one with -i")


def _report(item: RunItem) -> None:
    """A failure as it happens, in one line."""
    clear_line()
    why = item.why or ""
    what = why if str(item.source) in why else f"{item.source}: {why}"
    click.echo(f"failed: {' '.join(what.split())}", err=True)


def _print(record: RunRecord, to_stderr: bool) -> None:
    """What was done, how fast, and what is to be known of it."""
    from edgesr.api.run_record import Outcome

    counts = ", ".join(f"{record.count(outcome)} {outcome.value}" for outcome in Outcome if record.count(outcome))
    what = f"{record.artifact} in {record.runner}, {record.threads} thread{'s' if record.threads > 1 else ''}"
    speed = f"{record.per_second:.2f} {record.unit}/s, {record.megapixels_per_second:.1f} megapixels/s written"
    click.echo(f"{counts}; {speed} in {record.elapsed_s:.1f} s ({what})", err=to_stderr)
    if record.emulated is not None:
        click.echo(f"{record.runner} is an {record.emulated}, no phone", err=to_stderr)
    notes = dict.fromkeys(note for item in record.items for note in item.notes)
    for note in (*record.notes, *notes):
        click.echo(f"note: {note}", err=to_stderr)
