"""`edgesr verify parity` and `edgesr verify quality`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.cli.console import output_options, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from edgesr.api.verifying import QualityComparison
    from edgesr.runtime.operator_parity import OperatorRow
    from edgesr.runtime.parity import ParityReport


@click.group()
def verify() -> None:
    """Prove that exported files compute what the PyTorch network computes."""


@verify.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--runner", "runners", multiple=True, help="A runtime to check; repeat for several (all by default).")
@click.option("--images", type=click.Path(path_type=Path), help="A folder of natural images to check on.")
@click.option("--operators", is_flag=True, help="Print every operator, not only the worst ones.")
@output_options
def parity(
    path: Path, runners: tuple[str, ...], images: Path | None, operators: bool, as_json: bool, quiet: bool
) -> None:
    """Compare an artifact, or a whole export folder, with the float64 network: end to end and by operator."""
    from edgesr.api.verifying import verify_parity
    from edgesr.errors import ParityError

    report = verify_parity(path, runners, images, progress_bar(quiet or as_json))
    if as_json:
        print_json(report.to_json())
    elif not quiet:
        _print_parity(report, operators)
    if report.failures:
        first = report.failures[0]
        more = f" (and {len(report.failures) - 1} more)" if len(report.failures) > 1 else ""
        raise ParityError(f"{first.file}: {first.describe()}{more}; export again, or report it with the manifest")


def _print_parity(report: ParityReport, operators: bool) -> None:
    rows = [
        (
            row.file,
            row.runner,
            row.case,
            f"{row.max_abs:.1e}",
            f"{row.relative_l2:.1e}",
            f"{row.psnr_db:.2f}",
            verdict(row.why),
        )
        for row in report.rows
    ]
    print_table(("file", "runner", "case", "max abs", "rel. L2", "PSNR dB", "verdict"), rows, right=(3, 4, 5))
    click.echo()
    shown = report.operators if operators else _worst_operators(report)
    lines = [
        (
            row.file, row.runner, row.operator, row.kind, "-" if row.max_lsb is None else str(row.max_lsb),
            f"{row.max_relative:.1e}", f"{row.sqnr_db:.1f}", verdict(row.why),
        )
        for row in shown
    ]  # fmt: skip
    title = "operator" if operators else "worst operator"
    print_table(("file", "runner", title, "kind", "LSB", "rel. max", "SQNR dB", "verdict"), lines, right=(4, 5, 6))
    failed = len(report.failures)
    checks = len(report.rows) + len(report.operators)
    click.echo(f"\n{checks - failed} of {checks} checks within limits")


def _worst_operators(report: ParityReport) -> list[OperatorRow]:
    worst: dict[tuple[str, str], OperatorRow] = {}
    for row in report.operators:
        key = (row.file, row.runner)
        if key not in worst or row.max_relative > worst[key].max_relative:
            worst[key] = row
    return list(worst.values())


def verdict(why: str | None) -> str:
    """How a row reads."""
    return "ok" if why is None else f"FAILS: {why}"


@verify.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--lr", type=click.Path(path_type=Path), required=True, help="A folder of low-resolution images.")
@click.option("--hr", type=click.Path(path_type=Path), required=True, help="The same images at high resolution.")
@click.option("--runner", help="The runtime to measure in (each target's first by default).")
@click.option("--max-drop", type=float, help="Exit 3 when PSNR drops by more dB than this against the float network.")
@output_options
def quality(
    path: Path, lr: Path, hr: Path, runner: str | None, max_drop: float | None, as_json: bool, quiet: bool
) -> None:
    """Measure PSNR, Y-PSNR and SSIM by the NTIRE protocol, beside the float network on the same images."""
    from edgesr.api.verifying import verify_quality
    from edgesr.errors import QualityError

    results = verify_quality(path, lr, hr, runner, progress_bar(quiet or as_json))
    if as_json:
        print_json({"results": [result.to_json() for result in results]})
    elif not quiet:
        _print_quality(results)
    worst = max(results, key=lambda result: result.drop_db)
    if max_drop is not None and worst.drop_db > max_drop:
        raise QualityError(f"{worst.file} drops {worst.drop_db:.3f} dB on {lr}, more than {max_drop:g} dB")


def _print_quality(results: list[QualityComparison]) -> None:
    reference = results[0].reference
    rows = [("PyTorch FP32", "torch", *_figures(reference.psnr_db, reference.psnr_y_db, reference.ssim), "")]
    for result in results:
        q = result.quality
        rows.append((result.file, result.runner, *_figures(q.psnr_db, q.psnr_y_db, q.ssim), f"{result.drop_db:+.3f}"))
    print_table(("file", "runner", "PSNR dB", "Y-PSNR dB", "SSIM", "drop dB"), rows, right=(2, 3, 4, 5))
    click.echo(f"\n{reference.n} images of {reference.lr_folder}, {reference.crop}-pixel crop, uint8")


def _figures(psnr_db: float, psnr_y_db: float, ssim: float) -> tuple[str, str, str]:
    return f"{psnr_db:.3f}", f"{psnr_y_db:.3f}", f"{ssim:.4f}"
