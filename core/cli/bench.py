"""`edgesr bench`: latency on this machine or a phone, instructions, a compiler's estimate; and `bench compare`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgesr.atomic import write_atomically
from edgesr.cli.bench_compare import compare
from edgesr.cli.bench_table import print_record
from edgesr.cli.console import Size, output_options, print_json, progress_bar
from edgesr.cli.device_bench import named_after, show_outcomes
from edgesr.cli.estimate_table import print_comparison, print_estimate
from edgesr.cli.given import is_given
from edgesr.cli.phone_options import PhoneOptions, phone_options
from edgesr.cli.report import report_option
from edgesr.cli.text_types import ThreadCounts
from edgesr.ethos_u import ETHOS_U

if TYPE_CHECKING:
    from edgesr.api.estimating import FileEstimate
    from edgesr.runtime.bench_record import BenchRecord

MOST_THREADS = 256
"""More than any phone or workstation has; the runtimes abort where the system grants no more."""
HOST, ADB, EMULATED, CUDA = "host", "adb", "emulated", "cuda"
ESTIMATED = tuple(npu.name for npu in ETHOS_U)
DEVICES = (HOST, ADB, "adb:SERIAL", "adb:all", EMULATED, CUDA, *ESTIMATED)
RUNS_LIKE_HOST = HOST, CUDA
ON_HOST, ON_PHONES, MEASURING, ESTIMATING = (
    ("runtimes", "memory"), tuple(field.name for field in fields(PhoneOptions)),
    ("runs", "warmup", "blocks", "threads"),
    ("against_unfolded",),
)  # fmt: skip
"""Options that mean something on the host alone, on devices over adb, wherever runs are made, and with an estimate."""


def parse_device(context: click.Context, param: click.Parameter, name: str) -> str:
    """A device in any case; fails for an unknown one, naming those most like it."""
    kind, colon, serial = name.partition(":")
    if kind.lower() == ADB and (serial or not colon):
        return f"{ADB}:{'all' if serial.lower() == 'all' else serial}" if colon else ADB
    if name.lower() in DEVICES:
        return name.lower()
    near = difflib.get_close_matches(name.lower(), DEVICES, n=3, cutoff=0.5)
    raise click.BadParameter(f"no device is called '{name}'; choose {' or '.join(near or DEVICES)}", context, param)


def parse_threads(context: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    """Numbers of threads, one or more in each value, like 1 or 1,2; fails for what is none."""
    words = [word.strip() for value in values for word in value.split(",")]
    for word in words:
        if not (word.isascii() and word.isdigit()):
            raise click.BadParameter(f"'{word}' is no number of threads; write one like 1, or several like 1,2",
                                     context, param)  # fmt: skip
        if not 1 <= int(word) <= MOST_THREADS:
            raise click.BadParameter(f"{word} is not in the range 1<=x<={MOST_THREADS}", context, param)
    return tuple(dict.fromkeys(map(int, words)))


class BenchGroup(click.Group):
    """A group whose commands must be named, except the one that measures: anything else is meant for it.

    So `edgesr bench OUT` and `edgesr bench --device host OUT` measure. A file called like a command is ./compare.
    """

    @property
    def nameless(self) -> click.Command:
        """The command that measures."""
        return measure

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of the group where a command of it is named, else of the measuring command."""
        if args and args[0] in self.commands:
            return super().make_context(info_name, args, parent, **extra)
        return measure.make_context(info_name, args, parent, **extra)


@click.group(cls=BenchGroup, short_help="Time exported files beside PyTorch, or estimate them for an NPU; compare.")
def bench() -> None:
    """Measure, or compare what was measured."""


@click.command(
    epilog="\b\nCommands:\n  compare A.json B.json  Say what got faster or slower; see edgesr bench compare --help."
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--device",
    callback=parse_device,
    default=HOST,
    show_default=True,
    metavar="NAME",
    help=f"Where: {', '.join(DEVICES[:5])} (instructions are counted), {CUDA} (the network itself, on this machine's "
    f"GPU), or what a compiler estimates: {', '.join(ESTIMATED)}.",
)
@click.option("--size", type=Size(), help="Input size (default: the file's own).")
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True, help="Timed runs of each file.")
@click.option(
    "--warmup", type=click.IntRange(0), default=5, show_default=True, help="Untimed runs before, in each process."
)
@click.option(
    "--blocks",
    type=click.IntRange(1, 1000),
    help="Processes that share the runs (default: 16 on host, 5 on a phone; below 4 nothing can be compared).",
)
@click.option(
    "--threads",
    type=ThreadCounts(),
    multiple=True,
    default=("1",),
    show_default=True,
    callback=parse_threads,
    help="Threads of every runtime; several are measured in one run.",
)
@click.option("--runtime", "runtimes", multiple=True, help="A runtime to time; repeat for several (default: one each).")
@click.option("--memory/--no-memory", default=True, show_default=True, help="Measure each one's peak memory, too.")
@click.option("--plot", type=click.Path(path_type=Path), help="Also draw latency over runs, or an estimate, as SVG.")
@phone_options
@click.option("--against-unfolded", is_flag=True, help="Also estimate the graph with a RESHAPE/TRANSPOSE shuffle.")
@click.option("--output", "-o", "out", type=click.Path(path_type=Path), help="Also write the JSON here.")
@report_option
@output_options
@click.pass_context
def measure(
    context: click.Context, path: Path, device: str, size: tuple[int, int] | None, runs: int, warmup: int,
    blocks: int | None, threads: tuple[int, ...], runtimes: tuple[str, ...], memory: bool, plot: Path | None,
    phone: PhoneOptions, against_unfolded: bool, out: Path | None, report_file: Path | None, as_json: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Time PATH, an artifact or a whole export folder, beside PyTorch eager: interleaved runs, ratios from one run.

    Several processes share the runs, since each may be some per cent faster or slower for all of them.
    On a phone (adb) or the emulated Arm64 device the TFLite files run there, over adb, and their outputs are compared
    with this machine's. With the name of an NPU nothing runs: its compiler estimates each INT8 TFLite file's cycles.
    """
    _refuse_idle_options(context, device)
    if device in ESTIMATED:
        _estimate(path, device, size, against_unfolded, plot, out, report_file, as_json, quiet)
        return
    if device == EMULATED and phone.runner is not None and not phone.runner.is_dir():
        raise click.UsageError("--runner has no use: instructions are counted in edgesr's own runner alone")
    if device not in RUNS_LIKE_HOST:

        def typed(name: str) -> int | None:
            is_default = context.get_parameter_source(name) is click.core.ParameterSource.DEFAULT
            return None if is_default else context.params[name]

        counts = typed("runs"), typed("warmup"), blocks
        _measure_devices(path, device, size, counts, threads, phone, plot, out, report_file, as_json, quiet)
        return
    from edgesr.api.benchmarking import BLOCKS
    from edgesr.api.benchmarking import bench as run_bench
    from edgesr.api.cuda_benchmark import bench_on_cuda

    with progress_bar(quiet or as_json) as progress:
        if device == CUDA:
            record = bench_on_cuda(path, size, runs, warmup, progress, runtimes=runtimes)
        else:
            record = run_bench(
                path, size, runs, warmup, threads, progress, runtimes=runtimes, memory=memory, blocks=blocks or BLOCKS
            )
    if as_json:
        print_json(record.to_json())
    elif not quiet:
        print_record(record)
    _write_json(record.to_json(), out)
    if plot is not None:
        _write_plot(record, plot)
    _write_report([record], path, report_file)


bench.add_command(compare)


def _measure_devices(
    path: Path, device: str, size: tuple[int, int] | None, counts: tuple[int | None, int | None, int | None],
    threads: tuple[int, ...], phone: PhoneOptions, plot: Path | None, out: Path | None, report_file: Path | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    if len(threads) > 1:
        raise click.UsageError("--threads takes one number on a device; measure once for each")
    from edgesr.api.device_benchmark import bench_on_devices

    options = phone.resolve(device == EMULATED, *counts, threads[0])
    with progress_bar(quiet or as_json) as progress:
        outcomes = bench_on_devices(path, device, size, options, progress)
    records = [outcome.record for outcome in outcomes if outcome.record is not None]
    if as_json:
        print_json(records[0].to_json() if len(outcomes) == 1 and records else
                   {"records": [record.to_json() for record in records]})  # fmt: skip
    try:
        show_outcomes(outcomes, out, None if as_json or quiet else print_record)
    finally:
        if plot is not None:
            for outcome in outcomes:
                if outcome.record is not None:
                    _write_plot(outcome.record, named_after(plot, outcome, len(records) > 1))
        _write_report(records, path, report_file)


def _estimate(
    path: Path, device: str, size: tuple[int, int] | None, against_unfolded: bool, plot: Path | None, out: Path | None,
    report_file: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    from edgesr.api.estimating import estimate

    with progress_bar(quiet or as_json) as progress:
        estimates = estimate(path, device, size, against_unfolded, progress)
    _refuse_plot(estimates, plot)
    plain = {"device": device, "estimate": True, "results": [one.to_json() for one in estimates]}
    if as_json:
        print_json(plain)
    elif not quiet:
        _print_estimates(estimates)
    _write_json(plain, out)
    if plot is not None:
        from edgesr.export.npu.estimate_plot import draw_estimate

        _write_text(draw_estimate(estimates[0].estimate, estimates[0].file), plot)
    if report_file is not None:
        from edgesr.api.reporting import report_estimates

        report_estimates(device, estimates, path, report_file)


def _refuse_idle_options(context: click.Context, device: str) -> None:
    """Fail for an option that would be ignored on this device."""
    if device == HOST:
        idle, why = (*ESTIMATING, *ON_PHONES), "host estimates nothing, and needs no adb"
    elif device == CUDA:
        idle, why = (
            (*ESTIMATING, *ON_PHONES, "memory", "blocks", "threads"),
            "cuda times the network on this machine's GPU",
        )
    elif device in ESTIMATED:
        idle, why = (*MEASURING, *ON_HOST, *ON_PHONES), f"{device} is estimated, no run is timed"
    else:
        idle, why = (*ESTIMATING, *ON_HOST), f"{device} runs the TFLite files alone, by its own runtime"
    options = {param.name: param.opts[0] for param in context.command.params}
    for name in idle:
        if is_given(context, name):
            raise click.UsageError(f"{options[name]} has no use: --device {why}; leave out one of the two")


def _refuse_plot(estimates: Sequence[FileEstimate], plot: Path | None) -> None:
    if plot is not None and len(estimates) > 1:
        raise click.UsageError(f"--plot draws one file, PATH holds {len(estimates)} that fit; name one of them")


def _write_json(plain: dict[str, object], out: Path | None) -> None:
    """The file that was asked for; after all was printed, so that one that cannot be written loses nothing."""
    if out is not None:
        _write_text(json.dumps(plain, indent=2) + "\n", out)


def _write_plot(record: BenchRecord, plot: Path) -> None:
    from edgesr.runtime.latency_plot import draw_record

    _write_text(draw_record(record), plot)


def _write_report(records: Sequence[BenchRecord], path: Path, report_file: Path | None) -> None:
    """The page that was asked for, where anything was measured."""
    if report_file is not None and records:
        from edgesr.api.reporting import report_bench

        report_bench(records, path, report_file)


def _write_text(text: str, path: Path) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
