"""`edgesr compare`: two artifacts or export folders in one table, the differences that matter marked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.cli.console import Size, output_options, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from edgesr.api.compare_rows import CompareRow
    from edgesr.api.comparing import ArtifactComparison, ArtifactComparisons

MOST_THREADS = 256
MARKS = {"matters": "!", "differs": "~", "equal": ""}
LONGEST_CELL = 40


@click.command(short_help="Two artifacts or export folders in one table, with the differences that matter.")
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@click.option("--lr", type=click.Path(path_type=Path), help="Also measure quality: a folder of low-resolution images.")
@click.option("--hr", type=click.Path(path_type=Path), help="The same images at high resolution.")
@click.option("--bench", is_flag=True, help="Also time both on this machine, in turns.")
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True, help="Timed runs of each, with --bench.")
@click.option("--size", type=Size(), help="Input size of --bench (default: the files' own).")
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), default=1, show_default=True, help="For --bench.")
@click.option("--all", "show_all", is_flag=True, help="Print the lines that are equal, too.")
@output_options
def compare(
    first: Path, second: Path, lr: Path | None, hr: Path | None, bench: bool, runs: int, size: tuple[int, int] | None,
    threads: int, show_all: bool, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Compare A with B, two artifacts or two export folders that edgesr export wrote.

    Size, contract, operators, what each NPU's table refuses, precision, recorded parity, and the outputs of both on
    builtin photographs; with --lr and --hr quality, with --bench latency. Lines marked ! matter, those marked ~ differ.

    For two records of edgesr bench there is edgesr bench compare.
    """
    if (lr is None) != (hr is None):
        raise click.UsageError("--lr and --hr belong together; give both, or leave both out")
    with progress_bar(quiet or as_json) as progress:
        from edgesr.api.compare_measuring import Timing
        from edgesr.api.comparing import compare as run_compare

        images = None if lr is None or hr is None else (lr, hr)
        found = run_compare(first, second, images, Timing(runs, size, threads) if bench else None, progress)
    if as_json:
        print_json(found.to_json())
    elif not quiet:
        _print(found, show_all)


def _print(found: ArtifactComparisons, show_all: bool) -> None:
    """One table for all pairs, what the marks mean, and the rules of the lines that it shows."""
    many = len(found.pairs) > 1
    shown = [(pair, row) for pair in found.pairs for row in pair.rows if show_all or MARKS[row.verdict.value]]
    for letter, paths in zip("AB", zip(*((pair.first, pair.second) for pair in found.pairs), strict=True), strict=True):
        click.echo(f"{letter}: {', '.join(map(str, paths))}")
    click.echo()
    if shown:
        header = ("", "about", "what", "A", "B", "change")
        print_table(("file", *header) if many else header, [_cells(pair, row, many) for pair, row in shown])
    equal = sum(len(pair.rows) for pair in found.pairs) - len(shown)
    if equal:
        click.echo(f"{equal} lines are equal (--all)" if shown else f"all {equal} lines are equal")
    rules = dict.fromkeys(f"{row.subject}: {row.rule}" for _, row in shown)
    click.echo("\n! matters, ~ differs" if shown else "", nl=bool(shown))
    for text in (*rules, *(f"note: {note}" for pair in found.pairs for note in pair.notes)):
        click.echo(text)
    for path in found.alone:
        click.echo(f"note: {path} has no counterpart")


def _cells(pair: ArtifactComparison, row: CompareRow, many: bool) -> tuple[str, ...]:
    cells = (MARKS[row.verdict.value], row.subject, row.what, *map(_short, row.shown), row.change)
    return (pair.first.name, *cells) if many else cells


def _short(text: str) -> str:
    """A cell that leaves room for the others."""
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."
