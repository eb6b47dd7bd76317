"""`edgesr verify parity` and `edgesr verify quality`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.cli.console import help_without_command, output_options, print_json, print_table, progress_bar
from edgesr.cli.error_tables import (
    print_error_sources,
    print_network_errors,
    print_operator_errors,
    print_picture_errors,
)
from edgesr.cli.report import report_option

if TYPE_CHECKING:
    from edgesr.api.peers import PeerResult
    from edgesr.api.verifying import QualityComparison
    from edgesr.export.peers.peer import Peer
    from edgesr.runtime.operator_parity import OperatorRow
    from edgesr.runtime.parity import EmulatedRun, ParityReport, ParityRow
    from edgesr.runtime.quality import QualityReport


NO_FILE = ("cuda-fused",)
"""Runners of networks, which stand in for a GPU where they are emulated, and not for a phone."""


def parse_drop(context: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """A number of decibels; fails for one that no drop could ever exceed."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"'{value}' is no number of decibels; write one like 0.5", context, param)
    return value


@click.group(invoke_without_command=True, short_help="Prove exported files: parity with PyTorch, image quality.")
@click.pass_context
def verify(context: click.Context) -> None:
    """Prove that exported files compute what the PyTorch network computes."""
    help_without_command(context, 2)


@verify.command(short_help="Compare files with the PyTorch network, end to end and by operator.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--runner", "runners", multiple=True, help="A runtime to check; repeat for several (all by default).")
@click.option("--images", type=click.Path(path_type=Path), help="A folder of natural images to check on.")
@click.option("--cases", is_flag=True, help="Print every image, not only the worst ones.")
@click.option("--operators", is_flag=True, help="Print every operator, not only the worst ones.")
@click.option(
    "--model-explorer",
    "overlays",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also write node data that colours the files' graphs in Model Explorer.",
)
@report_option
@output_options
def parity(
    path: Path, runners: tuple[str, ...], images: Path | None, cases: bool, operators: bool, overlays: Path | None,
    report_file: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Compare PATH, an artifact or a whole export folder, with the float64 PyTorch network.

    End to end on natural images, odd sizes and noise, and operator by operator. Exit 3 where a limit is exceeded.
    """
    with progress_bar(quiet or as_json) as progress:
        from edgesr.api.verifying import verify_parity
        from edgesr.errors import ParityError

        report = verify_parity(path, runners, images, progress)
    if as_json:
        print_json(report.to_json())
    elif not quiet:
        _print_parity(report, cases, operators)
    if report_file is not None:
        from edgesr.api.reporting import report_parity

        report_parity(report, path, report_file)
    if overlays is not None:
        from edgesr.api.reporting import write_overlays

        write_overlays(report, overlays)
    if report.failures:
        first = report.failures[0]
        more = f" (and {len(report.failures) - 1} more)" if len(report.failures) > 1 else ""
        raise ParityError(f"{first.file}: {first.describe()}{more}; export again, or report it with the manifest")


def _print_parity(report: ParityReport, cases: bool, operators: bool) -> None:
    lines = [
        (
            row.file, row.runner, row.case, f"{row.max_abs:.1e}", f"{row.relative_l2:.1e}", f"{row.psnr_db:.2f}",
            verdict(row.why),
        )
        for row in (report.rows if cases else _worst_images(report.rows))
    ]  # fmt: skip
    shown = "image" if cases else "worst image"
    print_table(("file", "runner", shown, "max abs", "rel. L2", "PSNR dB", "verdict"), lines, right=(3, 4, 5))
    click.echo()
    operator_lines = [
        (
            row.file, row.runner, row.operator, row.kind, "-" if row.max_lsb is None else str(row.max_lsb),
            f"{row.max_relative:.1e}", f"{row.sqnr_db:.1f}", verdict(row.why),
        )
        for row in (report.operators if operators else _worst_operators(report.operators))
    ]  # fmt: skip
    shown = "operator" if operators else "worst operator"
    header = ("file", "runner", shown, "kind", "LSB", "rel. max", "SQNR dB", "verdict")
    print_table(header, operator_lines, right=(4, 5, 6))
    if operators:
        print_operator_errors(report)
    print_picture_errors(report)
    print_error_sources(report)
    failed, checks = len(report.failures), len(report.rows) + len(report.operators)
    click.echo("\nagainst the float64 PyTorch network", nl=False)
    exact = any(row.exact_integer_psnr_db is not None for row in report.rows)
    click.echo("; INT8 files must be as near to it as exact integer arithmetic, graph-int8" if exact else "")
    click.echo(f"{checks - failed} of {checks} checks within limits")
    for label, files in _by_label(report.emulated).items():
        click.echo(f"{label}: {', '.join(files)}")


def _by_label(runs: Sequence[EmulatedRun]) -> dict[str, list[str]]:
    """What was emulated, and the files that ran there."""
    labels: dict[str, list[str]] = {}
    for run in runs:
        what = f"is an {run.emulated}, no phone" if run.runner not in NO_FILE else f"ran in {run.emulated}, on no GPU"
        labels.setdefault(f"{run.runner} {what}", []).append(run.file)
    return labels


def _worst_images(rows: Sequence[ParityRow]) -> list[ParityRow]:
    """Of each file and runner the failures or, where there are none, the worst photograph and the worst noise.

    The float graph, a witness between PyTorch and the file, is shown where it fails.
    """
    groups: dict[tuple[str, str, bool], list[ParityRow]] = {}
    for row in rows:
        if row.runner != "graph" or not row.passed:
            groups.setdefault((row.file, row.runner, row.case.startswith("natural")), []).append(row)
    failed = {(row.file, row.runner) for row in rows if not row.passed}
    return [
        row
        for (file, runner, _), group in groups.items()
        for row in (
            [row for row in group if not row.passed]
            if (file, runner) in failed
            else [min(group, key=lambda row: row.psnr_db)]
        )
    ]


def _worst_operators(rows: Sequence[OperatorRow]) -> list[OperatorRow]:
    """Of each file and runner the failures or, where there are none, the operator with the largest error."""
    groups: dict[tuple[str, str], list[OperatorRow]] = {}
    for row in rows:
        groups.setdefault((row.file, row.runner), []).append(row)
    return [
        row
        for group in groups.values()
        for row in [row for row in group if not row.passed] or [max(group, key=lambda row: row.max_relative)]
    ]


def verdict(why: str | None) -> str:
    """How a row reads."""
    return "ok" if why is None else f"FAILS: {why}"


@verify.command(short_help="Measure PSNR, Y-PSNR and SSIM on pairs of images.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--lr", type=click.Path(path_type=Path), required=True, help="A folder of low-resolution images.")
@click.option("--hr", type=click.Path(path_type=Path), required=True, help="The same images at high resolution.")
@click.option("--runner", help="The runtime to measure in (each target's first by default).")
@click.option("--max-drop", type=float, callback=parse_drop, help="Exit 3 when PSNR drops by more decibels than this.")
@click.option("--against", metavar="PEER,...", help="Also quantize with other tools: litert-torch,onnxruntime,aimet.")
@click.option("--calib", type=click.Path(path_type=Path), help="Images for --against (those of PATH by default).")
@report_option
@output_options
def quality(
    path: Path, lr: Path, hr: Path, runner: str | None, max_drop: float | None, against: str | None,
    calib: Path | None, report_file: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Measure PATH, an artifact or a whole export folder, beside the float network on the same images.

    RGB PSNR, Y-PSNR and SSIM by the NTIRE protocol. Images pair by name: 0801x4.png belongs to 0801.png. --against
    converts the same network with other tools, on the calibration images of PATH; it takes seconds to many minutes.
    """
    if calib is not None and against is None:
        raise click.UsageError("--calib calibrates the peers of --against; name some, or leave it out")
    with progress_bar(quiet or as_json) as progress:
        from edgesr.api.peers import prepare_contest
        from edgesr.api.verifying import verify_quality
        from edgesr.errors import QualityError

        contest = None if against is None else prepare_contest(path, _find_peers(against), calib, progress)
        results = verify_quality(path, lr, hr, runner, progress, pictures=report_file is not None)
        peers = contest.measure(lr, hr, results[0].reference, progress) if contest else []
    of_peers = {"calibration": contest.images.source, "peers": [p.to_json() for p in peers]} if contest else {}
    if as_json:
        print_json({"results": [result.to_json() for result in results], **of_peers})
    elif not quiet:
        _print_quality(results, peers)
        if contest:
            click.echo(f"peers calibrated on {len(contest.images.names)} images, {contest.images.source}")
    if report_file is not None:
        from edgesr.api.reporting import report_quality

        report_quality(results, path, report_file, of_peers)
    worst = max(results, key=lambda result: result.drop_db)
    if max_drop is not None and worst.drop_db > max_drop:
        raise QualityError(
            f"{worst.file} in {worst.runner} drops {worst.drop_db:.3f} dB on {lr}, more than the {max_drop:g} dB of "
            "--max-drop; calibrate on other images, or choose a float target"
        )


def _find_peers(names: str) -> list[Peer]:
    """The peers of a list of names, each once; fails for an unknown one, naming those most like it."""
    from edgesr.export.peers.table import PEERS, find_peer, near_peers

    chosen: dict[str, Peer] = {}
    for name in (entry.strip() for entry in names.split(",")):
        peer = find_peer(name)
        if peer is None:
            near = near_peers(name)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(p.name for p in PEERS)}"
            raise click.BadParameter(f"no peer is called '{name}'; {hint}", param_hint="--against")
        chosen[name] = peer
    return list(chosen.values())


def _print_quality(results: list[QualityComparison], peers: Sequence[PeerResult] = ()) -> None:
    rows: list[tuple[str, ...]] = []
    for reference in {id(result.reference): result.reference for result in results}.values():
        rows.append(("PyTorch FP32", "torch", *_figures(reference), ""))
        of_it = [result for result in results if result.reference is reference]
        rows += [(r.file, r.runner, *_figures(r.quality), f"{r.drop_db:+.3f}") for r in of_it]
    rows += [_peer_row(peer) for peer in peers]
    first = "file or tool" if peers else "file"
    print_table((first, "runner", "PSNR dB", "Y-PSNR dB", "SSIM", "drop dB"), rows, right=(2, 3, 4, 5))
    print_network_errors(results)
    measured = results[0].quality
    click.echo(f"\n{measured.n} images of {measured.lr_folder}, {measured.crop}-pixel crop, uint8")
    for result in results:
        if result.emulated is not None:
            click.echo(f"{result.runner} is an {result.emulated}, no phone: {result.file}")
    for peer in peers:
        if peer.installed:
            click.echo(f"{peer.tool}: {peer.settings if peer.quality else peer.why_not}")


def _peer_row(peer: PeerResult) -> tuple[str, ...]:
    if peer.quality is None:
        return f"{peer.tool} {'failed' if peer.installed else peer.why_not}", "-", "-", "-", "-", "-"
    return peer.tool, peer.runner, *_figures(peer.quality), f"{peer.drop_db:+.3f}"


def _figures(report: QualityReport) -> tuple[str, str, str]:
    return f"{report.psnr_db:.3f}", f"{report.psnr_y_db:.3f}", f"{report.ssim:.4f}"
