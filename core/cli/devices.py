"""`edgesr devices`: what can be benchmarked on now, and why the rest cannot."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from edgesr.cli.console import output_options, print_json, print_table


@click.command(short_help="List what can be benchmarked on now, and why the rest cannot.")
@click.option(
    "--adb", type=click.Path(path_type=Path), help="The adb program (default: the one on PATH, or adbutils')."
)
@output_options
def devices(adb: Path | None, as_json: bool, quiet: bool) -> None:
    """List what `edgesr bench --device` can use now, what each gives, and why the rest cannot be used."""
    from edgesr.api.devices import list_devices

    found = list_devices(adb)
    if as_json:
        print_json({"devices": [dataclasses.asdict(one) | {"usable": one.usable} for one in found]})
    elif not quiet:
        rows = [(one.name, one.gives, "yes" if one.usable else "no", one.problem or one.description) for one in found]
        print_table(("--device", "gives", "usable", "what it is, or what it lacks"), rows)
