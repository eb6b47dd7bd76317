"""`edgesr bench`: latency on this machine, or what a vendor's compiler estimates for an NPU."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.atomic import write_atomically
from edgesr.cli.console import Size, output_options, print_json, print_table, progress_bar
from edgesr.cli.estimate_table import print_comparison, print_estimate
from edgesr.ethos_u import ETHOS_U

if TYPE_CHECKING:
    from edgesr.api.benchmarking import HostBenchmark
    from edgesr.api.estimating import FileEstimate

THREADS = click.IntRange(1, 256)
"""More than any phone or workstation has; the runtimes abort where the system grants no more."""
HOST = "host"
DEVICES = (HOST, *(npu.name for npu in ETHOS_U))
MEASURING, ESTIMATING = ("runs", "warmup", "threads"), ("plot", "against_unfolded")
"""Options that mean something on the host alone, and with an estimate alone."""


def parse_device(context: click.Context, param: click.Parameter, name: str) -> str:
    """A device in any case; fails for an unknown one, naming those most like it."""
    if name.lower() in DEVICES:
        return name.lower()
    near = difflib.get_close_matches(name.lower(), DEVICES, n=3, cutoff=0.5)
    raise click.BadParameter(f"no device is called '{name}'; choose {' or '.join(near or DEVICES)}", context, param)


@click.command(short_help="Time exported files beside PyTorch on this machine, or estimate them for an NPU.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--device",
    callback=parse_device,
    default=HOST,
    show_default=True,
    metavar="NAME",
    help=f"Where: {', '.join(DEVICES)}. All but host are estimates of a compiler.",
)
@click.option("--size", type=Size(), help="Input size (default: the file's own).")
@click.option("--runs", type=click.IntRange(1), default=30, show_default=True, help="Timed runs of each file.")
@click.option("--warmup", type=click.IntRange(0), default=5, show_default=True, help="Untimed runs before.")
@click.option("--threads", type=THREADS, default=1, show_default=True, help="Threads of every runtime.")
@click.option("--plot", type=click.Path(path_type=Path), help="Also draw an estimate, layer by layer, as SVG.")
@click.option("--against-unfolded", is_flag=True, help="Also estimate the graph with a RESHAPE/TRANSPOSE shuffle.")
@click.option("--output", "-o", "out", type=click.Path(path_type=Path), help="Also write the JSON here.")
@output_options
@click.pass_context
def bench(
    context: click.Context, path: Path, device: str, size: tuple[int, int] | None, runs: int, warmup: int,
    threads: int, plot: Path | None, against_unfolded: bool, out: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Time PATH, an artifact or a whole export folder, beside PyTorch eager: interleaved runs, ratios from one run.

    With the name of an NPU as --device, nothing runs: its compiler estimates the cycles of each INT8 TFLite file.
    """
    _refuse_idle_options(context, device)
    estimates: Sequence[FileEstimate] = ()
    with progress_bar(quiet or as_json) as progress:
        if device == HOST:
            from edgesr.api.benchmarking import bench as run_bench

            result = run_bench(path, size, runs, warmup, threads, progress)
            plain = result.to_json()
        else:
            from edgesr.api.estimating import estimate

            estimates = estimate(path, device, size, against_unfolded, progress)
            plain = {"device": device, "estimate": True, "results": [one.to_json() for one in estimates]}
            _refuse_plot(estimates, plot)
    if as_json:
        print_json(plain)
    elif not quiet and device == HOST:
        _print_bench(result)
    elif not quiet:
        _print_estimates(estimates)
    _write_files(plain, out, estimates, plot)


def _refuse_idle_options(context: click.Context, device: str) -> None:
    """Fail for an option that would be ignored: an estimate times nothing, the host draws no plot."""
    idle, why = (ESTIMATING, "host times and estimates nothing") if device == HOST else (
        MEASURING, f"{device} is estimated, no run is timed"
    )  # fmt: skip
    for name in idle:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} has no use: --device {why}; leave out one of the two")


def _refuse_plot(estimates: Sequence[FileEstimate], plot: Path | None) -> None:
    if plot is not None and len(estimates) > 1:
        raise click.UsageError(f"--plot draws one file, PATH holds {len(estimates)} that fit; name one of them")


def _write_files(
    plain: dict[str, object], out: Path | None, estimates: Sequence[FileEstimate], plot: Path | None
) -> None:
    """The files that were asked for; after all was printed, so that one that cannot be written loses nothing."""
    if out is not None:
        with write_atomically(out) as temporary:
            temporary.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    if plot is not None:
        from edgesr.export.npu.estimate_plot import draw_estimate

        with write_atomically(plot) as temporary:
            temporary.write_text(draw_estimate(estimates[0].estimate, estimates[0].file), encoding="utf-8")


def _print_estimates(estimates: Sequence[FileEstimate]) -> None:
    for one in estimates:
        anew = ", written anew for this size with its shuffle on the host" if one.written_anew else ""
        click.echo(f"{one.file} at {one.size[0]}x{one.size[1]}{anew}")
        print_estimate(one.estimate)
        if one.unfolded is not None:
            click.echo("\nthe shuffle left to the host, and as RESHAPE and TRANSPOSE; both in the setting below")
            print_comparison({"shuffle on the host": one.estimate, "unfolded": one.unfolded})
        click.echo()
    click.echo("the host's shuffle is in no estimate, and no figure above was measured")


def _print_bench(result: HostBenchmark) -> None:
    rows = [
        (
            r.name,
            r.runner,
            f"{r.median_ms:.2f}",
            f"{r.p90_ms:.2f}",
            f"{r.min_ms:.2f}",
            str(len(r.latencies_ms)),
            f"{result.ratio(r):.2f}",
        )
        for r in result.results
    ]
    print_table(("file", "runner", "median ms", "p90 ms", "min ms", "runs", "ratio"), rows, right=(2, 3, 4, 5, 6))
    height, width = result.size
    click.echo(f"\n{height}x{width} input, {result.threads} thread(s), {result.environment['processor']}")
    click.echo("ratio: the median over that of PyTorch eager in the same run")
    for warning in result.warnings():
        click.echo(f"warning: {warning}")
