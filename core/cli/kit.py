"""`edgesr kit`: loaders in C++ and Kotlin beside exported files."""

from __future__ import annotations

from pathlib import Path

import click

from edgesr.cli.console import output_options, print_json, print_table, progress_bar


@click.command(short_help="Write C++ and Kotlin loaders for exported files.")
@click.argument("path", metavar="ARTIFACT|OUT", type=click.Path(path_type=Path))
@click.option("--output", "-o", "out", type=click.Path(path_type=Path), help="The kit's folder (default: OUT/kit).")
@output_options
def kit(path: Path, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Write a deployment kit for ARTIFACT, or for every TFLite file of an export folder.

    A loader for LiteRT in C++ (C API) and one in Kotlin (Android), with each file's contract as constants: type, scale
    and zero point, sizes, padding, tiles and their overlap, sha256. Both run images of any size without a seam.
    """
    with progress_bar(quiet or as_json):
        from edgesr.api.kit import write_kit

        written = write_kit(path, out)
    if as_json:
        print_json(written.to_json())
    elif not quiet:
        rows = []
        for model in written.models:
            reach = "none, whole images" if model.reach is None else ", ".join(map(str, model.reach))
            tile = "its sizes" if model.tile is None else f"{model.tile[0]}x{model.tile[1]}"
            rows.append((model.file, model.contract.dtype.value, reach, tile))
        print_table(("file", "image", "reach", "tile"), rows)
        for left_out in written.left_out:
            click.echo(f"left out: {left_out}")
        click.echo(f"\n{len(written.files)} files in {written.folder}; start at {written.folder / 'README.md'}")
