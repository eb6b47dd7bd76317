"""`edgesr export`: a checkpoint to verified files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.cli.console import Size, output_options, print_json, print_table, progress_bar
from edgesr.cli.explaining import print_explanations
from edgesr.cli.given import configured
from edgesr.cli.option_values import CommandLineOnly
from edgesr.cli.rebuilding import rebuild_files
from edgesr.cli.text_types import JsonObject
from edgesr.route import Route
from edgesr.target import ALL_TARGETS, IODtype, Layout, Precision, Target, find_target, near_targets
from edgesr.user_code import SUFFIX, parse_init, parse_user_class

if TYPE_CHECKING:
    from edgesr.api.exporting import ExportResult
    from edgesr.artifact import Artifact
    from edgesr.runtime.parity import ParityRow

EFFORTS = ("ready", "fast", "balanced", "best")
"""The recipes of edgesr.quant.recipe, named here because importing that takes seconds; a test compares the two."""
WEIGHTS_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")


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


def parse_init_option(ctx: click.Context, param: click.Parameter, text: str | None) -> dict[str, object]:
    """The constructor's arguments; fails for what is no JSON object."""
    try:
        return parse_init(text) if text is not None else {}
    except ValueError as error:
        raise click.BadParameter(f"{error}; give an object, like '{{\"upscale\": 4}}'", ctx, param) from error


@click.command(short_help="Write verified ONNX and TFLite files from a checkpoint.")
@click.argument("model", required=False)
@click.option("--weights", type=click.Path(path_type=Path), help="A checkpoint (.pth, .safetensors), as MODEL may be.")
@click.option(
    "--init", "init", type=JsonObject(), callback=parse_init_option,
    help="Arguments for the constructor of MODEL, where that is a class: '{\"upscale\": 4}'.",
)  # fmt: skip
@click.option(
    "--target",
    "-t",
    "targets",
    multiple=True,
    callback=parse_target,
    default=("tflite-int8",),
    show_default=True,
    help="What to write; repeat for several. All of them: " + ", ".join(t.name for t in ALL_TARGETS) + ".",
)
@click.option(
    "--size",
    "sizes",
    type=Size(),
    multiple=True,
    help="Input size, like 270x480; repeat for several in one TFLite file.",
)
@click.option(
    "--io", type=click.Choice([io.value for io in IODtype]), help="Type of the image in and out (see edgesr targets)."
)
@click.option(
    "--layout", type=click.Choice([layout.value for layout in Layout]), help="Order of the image's axes (ONNX)."
)
@click.option(
    "--calib",
    type=click.Path(path_type=Path),
    help="A folder of photographs for INT8: ranges, and learning in deeper efforts.",
)
@click.option(
    "--effort",
    type=click.Choice(EFFORTS),
    default=EFFORTS[0],
    show_default=True,
    help="How much is done for INT8 quality: ready takes the integers that ship with bundled weights and is fast "
    "elsewhere; the others take seconds, some minutes, half an hour.",
)
@click.option(
    "--max-drop",
    "max_drop",
    type=float,
    metavar="DB",
    help="Give int8 targets 16-bit activations where the picture would lose more dB than this.",
)
@click.option(
    "--npu",
    "npus",
    multiple=True,
    default=("generic",),
    show_default=True,
    help="The NPU whose wishes the graph meets (edgesr targets lists them); repeat to compile for several.",
)
@click.option(
    "--route",
    type=click.Choice([route.value for route in Route]),
    default=Route.NATIVE.value,
    show_default=True,
    help="general: by litert-torch or torch.onnx, for networks outside the vocabulary; one size, floats in and out.",
)
@click.option("--explain", is_flag=True, help="Say why the graph has the form that it has.")
@click.option(
    "--from", "source", cls=CommandLineOnly, type=click.Path(path_type=Path), metavar="MANIFEST",
    help="Build the files of a manifest.json again, by its locks, and compare sha256 (-o keeps them).",
)  # fmt: skip
@click.option(
    "--output", "-o", "out", type=click.Path(path_type=Path), help="The folder to write to; --from does without."
)
@output_options
@click.pass_context
def export(
    context: click.Context, model: str | None, weights: Path | None, init: dict[str, object],
    targets: tuple[Target, ...],
    sizes: tuple[tuple[int, int], ...], io: str | None, layout: str | None, calib: Path | None,
    effort: str, max_drop: float | None, npus: tuple[str, ...], route: str, explain: bool, source: Path | None,
    out: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Export MODEL, a bundled model (default: spanv2_x4), a checkpoint or a class of yours, and prove every file.

    A class is named path/to/net.py:Class and needs --weights. That EXECUTES the file, with all that it does: name only
    files that you would run.

    Each file is compared with the float64 PyTorch network before it is put in place in OUT, beside manifest.json. Files
    that OUT already holds stay, unless one has the same name.

    --from rebuilds what a manifest locks: MODEL, --weights and --calib then say where class, checkpoint and images are
    now, --target chooses files. A class is executed only where MODEL names it. Exit 3 where other bytes come out.
    """
    if source is not None:
        rebuild_files(context, source, as_json, quiet)
        return
    if out is None:
        raise click.MissingParameter(ctx=context, param=next(p for p in context.command.params if p.name == "out"))
    name, weights = _model_or_weights(model, weights)
    _refuse_budget(max_drop, targets)
    with progress_bar(quiet or as_json) as progress:
        from edgesr.api.export_request import ExportRequest
        from edgesr.api.exporting import export as run_export

        _check_name(name, weights)
        _check_npus(npus)
        request = ExportRequest(
            targets=targets, out=out, model=name, weights=weights, sizes=sizes, io=IODtype(io) if io else None,
            layout=Layout(layout) if layout else None, calibration=calib, effort=effort, max_drop_db=max_drop,
            npus=npus, init=init, route=Route(route), configuration=configured(context).file,
        )  # fmt: skip
        result = run_export(request, progress)
    if as_json:
        print_json({"out": str(out), "artifacts": [artifact.to_json() for artifact in result.artifacts]})
    elif not quiet:
        if explain:
            print_explanations(result.artifacts)
        _print_summary(result, out)


def _refuse_budget(max_drop: float | None, targets: Sequence[Target]) -> None:
    """Fail for a budget that a target has no use for: only int8 targets can trade bits for decibels."""
    if max_drop is None:
        return
    if not 0 < max_drop < float("inf"):
        raise click.UsageError(f"--max-drop {max_drop:g} is no positive number of decibels; give one like 0.03")
    others = [target.name for target in targets if target.precision is not Precision.INT8]
    if others:
        why = "chooses between 8 and 16 bits in int8 targets"
        raise click.UsageError(f"--max-drop {why}; {others[0]} has one width throughout: leave out one of the two")


def _model_or_weights(model: str | None, weights: Path | None) -> tuple[str | None, Path | None]:
    """MODEL as a name or class or, where it is or looks like a path, as a checkpoint."""
    if model is not None and Path(model).suffix == SUFFIX:
        raise click.UsageError(f"{model} is a Python file; name the class in it, like {model}:Network")
    if parse_user_class(model) is not None:
        return model, weights
    if model is None or not (Path(model).is_file() or Path(model).suffix in WEIGHTS_SUFFIXES or os.sep in model):
        return model, weights
    if weights is not None:
        raise click.UsageError(f"both MODEL ({model}) and --weights ({weights}) name a file; give one")
    return None, Path(model)


def _check_name(name: str | None, weights: Path | None) -> None:
    """Fail for a name that no bundled model has; beside a checkpoint, the loader compares it with what is in there."""
    import difflib

    from edgesr.model.registry import BUNDLED_MODELS

    if parse_user_class(name) is not None:
        return
    names = [bundled.name for bundled in BUNDLED_MODELS]
    if name is not None and weights is None and name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(names)}, or give --weights FILE"
        raise click.BadParameter(f"no bundled model or file is called '{name}'; {hint}", param_hint="MODEL")


def _check_npus(names: Sequence[str]) -> None:
    """Fail for an NPU that there is no profile of."""
    from edgesr.errors import EdgeSRError
    from edgesr.npu_profile import find_npu_profile

    for name in names:
        try:
            find_npu_profile(name)
        except EdgeSRError as error:
            raise click.BadParameter(str(error), param_hint="--npu") from error


def _print_summary(result: ExportResult, out: Path) -> None:
    rows = []
    for artifact in result.artifacts:
        report = result.parity[artifact.file]
        runner, error = _worst(report.rows, artifact.find_target().precision.is_integer)
        operators = f"{len(report.operators)} within limits" if report.operators else "not compared"
        rows.append((artifact.file, f"{artifact.size_bytes / 1000:.0f} KB", runner, error, operators))
    print_table(("file", "size", "checked in", "worst against PyTorch", "operators"), rows, right=(1,))
    for note in _notes(result):
        click.echo(f"note: {note}", err=True)
    place = shlex.quote(str(out))
    click.echo(f"\nWritten to {place}, beside manifest.json. Next:")
    click.echo(f"  edgesr verify parity {place}   # in every runtime, on odd sizes and noise")
    click.echo(f"  edgesr bench {place}           # latency on this machine")


def _notes(result: ExportResult) -> list[str]:
    """What padding and quantization have to say: each thing once, though several files may come from it."""
    notes: dict[str, None] = {}
    for artifact in result.artifacts:
        padded = artifact.facts.get("padded_sizes")
        notes |= dict.fromkeys(_padding_note(artifact, *size) for size in padded) if isinstance(padded, list) else {}
        quantization = artifact.facts.get("quantization")
        found = quantization.get("notes") if isinstance(quantization, dict) else None
        notes |= dict.fromkeys(str(note) for note in found or ())
    return list(notes)


def _padding_note(artifact: Artifact, height: int, width: int) -> str:
    to = "x".join(map(str, artifact.contract.file_size((height, width))))
    return (
        f"images of {height}x{width} go in as {to}, their last row and column repeated, and come out cut back: edgesr "
        "does it, and so must your code"
    )


def _worst(rows: Sequence[ParityRow], integers: bool) -> tuple[str, str]:
    """The runner and figure of the file's worst photograph: PSNR for integers, the largest error for floats."""
    checked = [row for row in rows if not row.runner.startswith("graph") and row.case.startswith("natural")]
    if integers:
        worst = min(checked, key=lambda row: row.psnr_db)
        return worst.runner, f"PSNR {worst.psnr_db:.1f} dB on {worst.case}"
    worst = max(checked, key=lambda row: row.max_abs)
    return worst.runner, f"error {worst.max_abs:.1e} on {worst.case}"
