"""`edgesr bench compare`: two records of `edgesr bench -o`, with a verdict that knows noise."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgesr.atomic import write_atomically
from edgesr.cli.bench_table import print_comparison_of_records
from edgesr.cli.console import output_options, print_json
from edgesr.errors import SpeedError

SLOWER = "slower"


@click.command(short_help="Compare two records, with a verdict that knows noise.")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--fail-on", type=click.Choice([SLOWER]), help="Exit 3 where an artifact got slower, or executes more.")
@click.option("--output", "-o", "out", type=click.Path(path_type=Path), help="Also write the JSON here.")
@output_options
def compare(first: Path, second: Path, fail_on: str | None, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Say for each artifact of two records whether SECOND is faster or slower than FIRST, or no difference was seen.

    FIRST and SECOND are JSON files that `edgesr bench -o` wrote. Latencies are compared with their noise, instruction
    counts exactly. Records of different devices, sizes or threads are refused.
    """
    from edgesr.runtime.bench_compare import compare_records
    from edgesr.runtime.bench_record import read_record

    comparison = compare_records(read_record(first), read_record(second))
    plain = {"first": str(first), "second": str(second)} | comparison.to_json()
    if as_json:
        print_json(plain)
    elif not quiet:
        print_comparison_of_records(comparison)
    if out is not None:
        with write_atomically(out) as temporary:
            temporary.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    if fail_on == SLOWER and comparison.slower:
        names = ", ".join(f"{row.name} ({row.ratio - 1:+.1%})" for row in comparison.slower)
        raise SpeedError(f"{second} is slower than {first}: {names}; see what changed, or record a new {first}")
