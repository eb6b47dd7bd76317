"""What commands share: options, a progress bar on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from edgesr.progress import Progress, silent

BAR_WIDTH = 24
PATIENCE_S = 1.0
"""Work that ends sooner shows no bar."""

Command = TypeVar("Command", bound=Callable[..., Any])


def output_options(command: Command) -> Command:
    """The options --json and --quiet."""
    command = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")(command)
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for machines.")(command)


class Size(click.ParamType[tuple[int, int]]):
    """An image size, HxW."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse HxW; fails where it is none or not positive."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", str(value))
        if match is None or "0" in match.groups() or not all(int(n) for n in match.groups()):
            self.fail(f"'{value}' is no size; write height x width of the input image, like 270x480", param, ctx)
        return int(match[1]), int(match[2])


def progress_bar(quiet: bool) -> Progress:
    """A progress bar where stderr is a terminal, silence elsewhere."""
    return _Bar() if sys.stderr.isatty() and not quiet else silent


class _Bar:
    """One line on stderr, rewritten; a stage's line is cleared when it ends."""

    def __init__(self) -> None:
        self._stage = ""
        self._started = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage:
            self._stage, self._started = stage, time.monotonic()
        elapsed = time.monotonic() - self._started
        if done >= total:
            click.echo("\r\033[K", nl=False, err=True)
        elif elapsed >= PATIENCE_S or total == 1:
            filled = BAR_WIDTH * done // total
            left = f", {elapsed / done * (total - done):.0f} s left" if done and elapsed >= PATIENCE_S else ""
            bar = "#" * filled + "." * (BAR_WIDTH - filled)
            click.echo(f"\r\033[K{stage} [{bar}] {done}/{total}{left}", nl=False, err=True)


def print_json(value: Mapping[str, object]) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """A table whose columns are as wide as they need; columns in `right` are right-aligned."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, tuple("-" * width for width in widths), *rows):
        cells = (
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())
