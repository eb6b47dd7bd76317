"""`edgesr report`, and the option --report of commands that measure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgesr.cli.console import output_options, print_json

Command = TypeVar("Command", bound=Callable[..., Any])


def report_option(command: Command) -> Command:
    """The option --report."""
    return click.option(
        "--report", "report_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
        help="Also write a page for people here (.html).",
    )(command)  # fmt: skip


@click.command(short_help="Compare exports and what was measured of them, on one page.")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR|JSON...")
@click.option("--output", "-o", "out", type=click.Path(path_type=Path), required=True, help="The .html file to write.")
@output_options
def report(sources: tuple[Path, ...], out: Path, as_json: bool, quiet: bool) -> None:
    """Write one self-contained page that compares models, targets and devices.

    DIR is a folder of edgesr export; JSON what edgesr verify parity, verify quality, audit or bench printed with
    --json, recognised by its content. Each export folder holds a report.html of its own besides.
    """
    from edgesr.api.reporting import report as write_report

    joined = write_report(sources, out)
    if as_json:
        print_json({"report": str(out), **joined.to_json()})
    elif not quiet:
        files = len(joined.rows)
        click.echo(f"{out}: {files} file{'s' if files != 1 else ''} compared")
        for note in joined.notes:
            click.echo(f"note: {note}", err=True)
