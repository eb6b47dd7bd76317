"""What commands share: options, a progress bar on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from edgesr.json_numbers import finite
from edgesr.progress import Progress, silent

BAR_WIDTH = 24
PATIENCE_S = 1.0
"""A guess at the time left is shown once a stage has run that long."""
CLEAR_LINE = "\r\033[K"
COUNTED = ("images", "frames")
"""Stages of which the bar says how many a second are done."""
MAX_SIDE = 99_999

Command = TypeVar("Command", bound=Callable[..., Any])

if TYPE_CHECKING:
    SizeType = click.ParamType[tuple[int, int]]
else:
    SizeType = click.ParamType  # click before 8.4 has no such parameter


def output_options(command: Command) -> Command:
    """The options --json and --quiet."""
    command = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")(command)
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for machines.")(command)


def help_without_command(context: click.Context, exit_code: int) -> None:
    """What a group does when no command follows: its help, on stderr."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(exit_code)


class Size(SizeType):
    """An image size, HxW."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse HxW; fails where it is none, not positive or beyond any image."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([0-9]{1,9})[xX]([0-9]{1,9})", str(value))
        height, width = (int(match[1]), int(match[2])) if match else (0, 0)
        if min(height, width) < 1:
            self.fail(f"'{value}' is no size; write height x width of the input image, like 270x480", param, ctx)
        if max(height, width) > MAX_SIDE:
            self.fail(f"'{value}' is too large; a side has at most {MAX_SIDE} pixels", param, ctx)
        return height, width


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """A progress bar where stderr is a terminal, silence elsewhere; nothing of it is left on leaving."""
    if quiet or not sys.stderr.isatty():
        yield silent
        return
    bar = _Bar(sys.stderr)
    bar("starting", 0, 1)
    try:
        yield bar
    finally:
        bar.clear()


def clear_line() -> None:
    """Make room for a line on a terminal where a bar stands; the bar comes back with its next report."""
    if sys.stderr.isatty():
        sys.stderr.write(CLEAR_LINE)


class _Bar:
    """One line on a terminal, rewritten at every report; it stays until the next stage or the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stage = ""
        self._started = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage:
            self._stage, self._started = stage, time.monotonic()
        elapsed = time.monotonic() - self._started
        filled = BAR_WIDTH * done // max(total, 1)
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        rate = left = ""
        if done and elapsed >= PATIENCE_S:
            rate = f", {done / elapsed:.3g} {stage}/s" if stage in COUNTED else ""
            left = f", {elapsed / done * (total - done):.0f} s left" if done < total else ""
        line = f"[{bar}] {done}/{total}{rate}{left}  {stage}"
        self._show(line[: _columns(self._stream) - 1])

    def clear(self) -> None:
        """Leave an empty line."""
        self._show("")

    def _show(self, line: str) -> None:
        self._stream.write(CLEAR_LINE + line)
        self._stream.flush()


def _columns(stream: TextIO) -> int:
    """The terminal's width: a longer line would wrap, and could not be rewritten."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def print_json(value: Mapping[str, object]) -> None:
    """One JSON document on stdout; infinite and undefined numbers, which JSON has none for, as strings."""
    click.echo(json.dumps(finite(value), indent=2, allow_nan=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """A table whose columns are as wide as they need; columns in `right` are right-aligned."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, tuple("-" * width for width in widths), *rows):
        cells = (
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())
