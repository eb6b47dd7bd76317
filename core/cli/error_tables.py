"""The tables that say where an error comes from: of `verify parity` and of `verify quality`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from edgesr.cli.console import print_table

if TYPE_CHECKING:
    from edgesr.api.verifying import QualityComparison
    from edgesr.runtime.divergence import Divergence, DivergenceRow
    from edgesr.runtime.error_sources import ErrorSources
    from edgesr.runtime.operator_parity import OperatorRow
    from edgesr.runtime.parity import ParityReport
    from edgesr.runtime.picture_error import PictureError, PictureErrors

SOURCES_SHOWN = 3
ABSENT = "-"


def print_error_sources(report: ParityReport) -> None:
    """The operators that an INT8 error comes from, its colours, and where two runs of the same integers part."""
    for sources in report.sources:
        click.echo(f"\nWhere the error comes from: {sources.file} in {sources.runner}, {sources.case}")
        _print_sources(sources, report.operators)
    _print_divergences([row for row in report.divergences if row.in_steps])


def _print_sources(sources: ErrorSources, operators: Sequence[OperatorRow]) -> None:
    rows = {row.operator: row for row in operators if (row.file, row.runner) == (sources.file, sources.runner)}
    lines = [
        (
            source.operator, source.kind, _percent(source.share), f"{source.alone_psnr_db:.1f}",
            f"{rows[source.operator].own_sqnr_db:.1f}", _clipped(rows[source.operator]),
        )
        for source in sources.sources[:SOURCES_SHOWN]
    ]  # fmt: skip
    header = ("operator", "kind", "share", "PSNR dB alone", "own SQNR dB", "clipped")
    print_table(header, lines, right=(2, 3, 4, 5))
    click.echo(
        f"shares of the operators' own errors; together these are {_percent(sources.explained)} of the whole error, "
        f"{sources.psnr_db:.1f} dB"
    )
    worst = max(rows.values(), key=lambda row: row.span.unwanted_clipped_share if row.span else 0.0)
    clips = worst.span is not None and worst.span.unwanted_clipped_share > 0
    most = f"{worst.operator}, {_clipped(worst)} of its values" if clips else "none"
    click.echo(f"clipped most by its range: {most} (in brackets: the image's own clip)")


def _print_divergences(rows: Sequence[DivergenceRow]) -> None:
    """Of each network one line for each pair of runs: the first tensor that differs, the first beyond the limit."""
    by_network: dict[str, list[DivergenceRow]] = {}
    for row in rows:
        by_network.setdefault(row.second_file.rpartition(".")[0], []).append(row)
    for network, pairs in by_network.items():
        click.echo(f"\nFirst divergence between runtimes: {network}")
        lines = [
            (
                row.first_runner, row.second_runner, *_divergence(row.at_all, row.in_steps),
                _beyond(row.beyond_limit, row.in_steps),
            )
            for row in pairs
        ]  # fmt: skip
        header = ("runtime", "and", "differ first at", "values", "most", "first beyond the limit of one operator")
        print_table(header, lines, right=(3, 4))


def _divergence(found: Divergence | None, in_steps: bool) -> tuple[str, str, str]:
    if found is None:
        return "nowhere", ABSENT, ABSENT
    return found.operator, _percent(found.differing_share), _amount(found.largest, in_steps)


def _beyond(found: Divergence | None, in_steps: bool) -> str:
    return ABSENT if found is None else f"{found.operator} ({_amount(found.largest, in_steps)})"


def _amount(largest: float, in_steps: bool) -> str:
    return f"{largest:g} LSB" if in_steps else f"{largest:.1e}"


def print_operator_errors(report: ParityReport) -> None:
    """Of every operator: its own error beside the accumulated one, its values and what its integers hold of them."""
    for file, runner in dict.fromkeys((row.file, row.runner) for row in report.operators):
        click.echo(f"\n{file} in {runner}: what each operator adds, and what its integers hold")
        rows = [row for row in report.operators if (row.file, row.runner) == (file, runner)]
        header = ("tensor", "own dB", "SQNR dB", "values", "bits", "integers span", "clipped", "at rails")
        print_table(header, [_operator_line(row) for row in rows], right=(1, 2, 3, 4, 5, 6, 7))
    _print_divergences([row for row in report.divergences if not row.in_steps])


def _operator_line(row: OperatorRow) -> tuple[str, ...]:
    start = row.operator, f"{row.own_sqnr_db:.1f}", f"{row.sqnr_db:.1f}"
    if row.span is None:
        return *start, *[ABSENT] * 5
    values, integers = _interval(row.span.low, row.span.high), row.span.integers
    if integers is None:
        return *start, values, *[ABSENT] * 4
    span = _interval(integers.lowest, integers.highest)
    return *start, values, str(integers.bits), span, _clipped(row), _percent(integers.railed_share)


def _interval(low: float, high: float) -> str:
    return f"{low:.3g} .. {high:.3g}"


def _clipped(row: OperatorRow) -> str:
    """The clipped share; in brackets where saturation is the image's own clip."""
    if row.span is None or row.span.integers is None:
        return ABSENT
    share = _percent(row.span.integers.clipped_share)
    return f"({share})" if row.span.integers.clips_image else share


def print_picture_errors(report: ParityReport) -> None:
    """Of each file and runner, the natural image with the largest shift or most wrongly clipped pixels."""
    groups: dict[tuple[str, str], list[PictureError]] = {}
    for row in report.rows:
        if row.picture is not None and not row.runner.startswith("graph"):
            groups.setdefault((row.file, row.runner), []).append(row.picture)
    lines = []
    for (file, runner), pictures in groups.items():
        worst = max(pictures, key=lambda picture: picture.worst_shift_levels)
        border = min(picture.border_psnr_db for picture in pictures)
        inside = [p.interior_psnr_db for p in pictures if p.interior_psnr_db is not None]
        white, black = max(p.white_share for p in pictures), max(p.black_share for p in pictures)
        decibels = f"{min(inside):.1f}" if inside else ABSENT, f"{border:.1f}"
        shares = white, black, max(picture.cut_off_share for picture in pictures)
        lines.append((file, runner, *decibels, _levels(worst.shift_levels), *map(_percent, shares)))
    header = ("file", "runner", "PSNR dB", "border", "colour shift", "white", "black", "cut off")
    click.echo("\n8-bit pictures against the float network's: the worst natural image of each figure")
    print_table(header, lines, right=tuple(range(2, len(header))))
    click.echo(
        "colour shift: of each channel, in levels of 255; white, black: pixels wrongly clipped, cut off: beyond noise"
    )


def print_network_errors(results: Sequence[QualityComparison]) -> None:
    """Of each file, the error against the float network's pictures: means over the images, and the worst image."""
    lines = [
        (result.file, *_network_figures(errors), _drop(result.border_drop_db), *_colour_figures(errors))
        for result in results
        if (errors := result.quality.network_errors) is not None
    ]
    if not lines:
        return
    header = ("against PyTorch FP32", "PSNR dB", "border", "its drop", "colour shift", "worst", "white", "black",
              "cut off", "lost")  # fmt: skip
    click.echo()
    print_table(header, lines, right=tuple(range(1, len(header))))
    click.echo(
        "border: the outermost pixels, which the crop leaves out; colour shift: of each channel, in levels of 255;\n"
        "worst: in one image; white, black: pixels wrongly clipped, cut off: those beyond noise,\n"
        "lost: those of them where HR has detail (docs/numerics.md)"
    )


def _network_figures(errors: PictureErrors) -> tuple[str, str]:
    inside = errors.interior_psnr_db
    return ABSENT if inside is None else f"{inside:.2f}", f"{errors.border_psnr_db:.2f}"


def _colour_figures(errors: PictureErrors) -> tuple[str, ...]:
    clipped = errors.white_share, errors.black_share, errors.cut_off_share
    lost = ABSENT if errors.lost_share is None else _percent(errors.lost_share)
    return _levels(errors.shift_levels), f"{errors.worst_shift_levels:.2f}", *map(_percent, clipped), lost


def _drop(border_drop_db: float | None) -> str:
    return ABSENT if border_drop_db is None else f"{border_drop_db:+.3f}"


def _levels(shifts: Sequence[float]) -> str:
    return " ".join(f"{shift + 0.0:+.2f}" for shift in shifts)


def _percent(share: float) -> str:
    """A share (0..1) in percent with enough digits for one in a hundred thousand; 0 for none."""
    if share == 0:
        return "0 %"
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %" if share >= 1e-5 else "<0.001 %"
