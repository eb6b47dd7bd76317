"""`edgesr export`: a checkpoint to verified files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.cli.console import Size, output_options, print_json, print_table, progress_bar
from edgesr.target import TARGETS, IODtype, Layout, Target, find_target, near_targets

if TYPE_CHECKING:
    from edgesr.api.exporting import ExportResult

EFFORTS = ("fast",)
"""The recipes of edgesr.quant.recipe, named here because importing that takes seconds; a test compares the two."""


def parse_target(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> tuple[Target, ...]:
    """The targets of these names, each once; fails for an unknown one, naming those most like it."""
    chosen: dict[str, Target] = {}
    for name in names:
        target = find_target(name)
        if target is None:
            near = near_targets(name)
            hint = f"did you mean {' or '.join(near)}?" if near else "edgesr targets lists them"
            raise click.BadParameter(f"no target is called '{name}'; {hint}", ctx, param)
        chosen[name] = target
    return tuple(chosen.values())


@click.command()
@click.argument("model", required=False)
@click.option("--weights", type=click.Path(path_type=Path), help="A checkpoint (.pth, .safetensors) to export.")
@click.option(
    "--target",
    "-t",
    "targets",
    multiple=True,
    callback=parse_target,
    default=("tflite-int8",),
    show_default=True,
    help="What to write; repeat for several. All of them: " + ", ".join(t.name for t in TARGETS) + ".",
)
@click.option("--size", "sizes", type=Size(), multiple=True, help="Input size; repeat for several in one TFLite file.")
@click.option("--io", type=click.Choice([io.value for io in IODtype]), help="The image's type at the file's edges.")
@click.option("--layout", type=click.Choice([layout.value for layout in Layout]), help="The image's axes (ONNX).")
@click.option("--calib", type=click.Path(path_type=Path), help="A folder of natural images for INT8 ranges.")
@click.option("--effort", type=click.Choice(EFFORTS), default=EFFORTS[0], show_default=True, help="INT8 recipe.")
@click.option("--output", "-o", "out", type=click.Path(path_type=Path), required=True, help="The folder to write to.")
@output_options
def export(
    model: str | None, weights: Path | None, targets: tuple[Target, ...], sizes: tuple[tuple[int, int], ...],
    io: str | None, layout: str | None, calib: Path | None, effort: str, out: Path, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Export MODEL (bundled: spanv2_x4) or a checkpoint, and prove every file before it is put in place."""
    if weights is None and model is not None and Path(model).is_file():
        weights, model = Path(model), None
    from edgesr.api.exporting import ExportRequest
    from edgesr.api.exporting import export as run_export

    _check_name(model)
    request = ExportRequest(
        targets=targets, out=out, model=model, weights=weights, sizes=sizes, io=IODtype(io) if io else None,
        layout=Layout(layout) if layout else None, calibration=calib, effort=effort,
    )  # fmt: skip
    result = run_export(request, progress_bar(quiet or as_json))
    if as_json:
        print_json({"out": str(out), "artifacts": [artifact.to_json() for artifact in result.artifacts]})
    elif not quiet:
        _print_summary(result, out)


def _check_name(model: str | None) -> None:
    import difflib

    from edgesr.model.registry import BUNDLED_MODELS

    names = [bundled.name for bundled in BUNDLED_MODELS]
    if model is not None and model not in names:
        near = difflib.get_close_matches(model, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(names)}, or give --weights FILE"
        raise click.BadParameter(f"no bundled model or file is called '{model}'; {hint}", param_hint="MODEL")


def _print_summary(result: ExportResult, out: Path) -> None:
    rows = []
    for artifact in result.artifacts:
        report = result.parity[artifact.file]
        worst = max((row for row in report.rows if not row.runner.startswith("graph")), key=lambda row: row.max_abs)
        proof = f"{worst.psnr_db:.1f} dB" if "int8" in artifact.target else f"{worst.max_abs:.1e}"
        operators = f"{len(report.operators)} of {len(report.operators)} operators"
        rows.append((artifact.file, f"{artifact.size_bytes / 1000:.0f} KB", worst.runner, proof, operators))
    print_table(("file", "size", "checked in", "PSNR or max error", "within limits"), rows, right=(1, 3))
    click.echo(f"\nwritten to {out}, with manifest.json; next:")
    click.echo(f"  edgesr verify parity {out}")
    click.echo(f"  edgesr bench {out}")
