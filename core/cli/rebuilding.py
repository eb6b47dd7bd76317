"""`edgesr export --from`: files of a manifest once more, and whether they are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgesr.cli.console import clear_line, print_json, print_table, progress_bar
from edgesr.cli.given import is_given
from edgesr.errors import RebuildError

if TYPE_CHECKING:
    from pathlib import Path

    from edgesr.api.rebuilding import RebuildResult

PLACES = ("model", "weights", "calib", "targets", "out")
"""Parameters of export that mean something beside --from, where the command line gives them."""
SHOWN = ("source", "as_json", "quiet")
SHORT = 12
"""Digits of a sha256 in the table."""


def rebuild_files(context: click.Context, source: Path, as_json: bool, quiet: bool) -> None:
    """Rebuild by what the command line says; a configuration file shaped the export that is repeated, or did not.

    Raises `RebuildError` where other bytes come out.
    """
    for param in context.command.params:
        if param.name not in (*PLACES, *SHOWN) and param.name and is_given(context, param.name):
            raise click.UsageError(
                f"{param.opts[0]} has no use: the locks of {source} say it; leave out one of the two"
            )
    given = {name: context.params[name] for name in PLACES if is_given(context, name)}
    with progress_bar(quiet or as_json) as progress:
        from edgesr.api.rebuild_plan import RebuildRequest
        from edgesr.api.rebuilding import rebuild

        request = RebuildRequest(
            manifest=source, out=given.get("out"), model=given.get("model"), weights=given.get("weights"),
            calibration=given.get("calib"), targets=given.get("targets", ()),
        )  # fmt: skip
        result = rebuild(request, progress, _warn)
    if as_json:
        print_json(result.to_json())
    elif not quiet:
        _print(result)
    if result.different:
        raise RebuildError(_complaint(result))


def _warn(difference: str) -> None:
    clear_line()
    click.echo(f"warning: {difference}: other bytes may come out", err=True)


def _print(result: RebuildResult) -> None:
    rows = [
        (file.file, "same" if file.is_same else "DIFFERENT", file.sha256[:SHORT], file.rebuilt_sha256[:SHORT])
        for file in result.files
    ]
    print_table(("file", "rebuilt", "sha256 of the manifest", "sha256 now"), rows)
    same = len(result.files) - len(result.different)
    kept = f"; they are in {result.out}" if result.out is not None else ""
    click.echo(f"\n{same} of {len(result.files)} files have the same bytes{kept}")


def _complaint(result: RebuildResult) -> str:
    """The first file that came out otherwise, and what its lock and this machine differ in."""
    first, others = result.different[0], len(result.different) - 1
    more = f" (and {others} more)" if others else ""
    why = ", ".join(first.differences)
    cause = f"{why}; install those versions to have the same" if why else (
        "nothing that its lock names is different; report it with both manifests"
    )  # fmt: skip
    return (
        f"{first.file}{more} came out with sha256 {first.rebuilt_sha256[:SHORT]}, {result.manifest} has "
        f"{first.sha256[:SHORT]}: {cause}"
    )
