"""Quality against cost as one SVG file: RGB PSNR over runtime, FLOPs and parameters, a panel for each that is known.

Self-contained: no script, no font, no link. Up and to the left is better. Axes do not start at 0. The baseline is a
square, every other network a dot; each has one colour in all panels, which the legend below names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgesr.errors import EdgeSRError
from edgesr.runtime.score_report import ScoredModel, ScoreReport
from edgesr.svg import document, line, round_ticks, text

PALE, GRID = "#777777", "#e4e4e4"
COLOURS = ("#2f6fb3", "#d1812c", "#3a9d6e", "#b0433f", "#7a5ba6", "#8a6d3b", "#c2649a", "#4aa3a8")
"""By the order of the networks, and again from the first where they are more."""
LEFT, HEAD, PANEL_WIDTH, PANEL_HEIGHT, GAP = 70, 78, 270, 230, 36
LEGEND, ROW = 62, 18
"""From a panel's foot to the legend, and the height of a row of it."""
MARGIN = 0.12
"""Left free at each side, as a share of what the values span."""
NARROWEST_DB, NARROWEST_COST = 0.05, 0.02
"""What an axis spans at least, in dB or as a share of the costs: equal values stand in the middle."""
TINIEST = 1e-6
"""Of networks that all cost nothing."""
TICKS = 5


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def draw_scores(report: ScoreReport) -> str:
    """The SVG text; raises `EdgeSRError` where a network's PSNR was not measured, or is infinite."""
    quality = [_psnr_db(model) for model in report.models]
    panels = _panels(report)
    width = LEFT + len(panels) * (PANEL_WIDTH + GAP)
    foot = HEAD + PANEL_HEIGHT
    upward = _axis(quality, NARROWEST_DB, foot, HEAD)
    parts = [*_head(report), *_grid_of_quality(upward, width - GAP)]
    for position, (title, cost) in enumerate(panels):
        left = LEFT + position * (PANEL_WIDTH + GAP)
        costs = [cost(model) for model in report.models]
        across = _axis(costs, NARROWEST_COST * max(costs), left, left + PANEL_WIDTH)
        parts += _frame(across, foot, title)
        for index, point in enumerate(zip(costs, quality, strict=True)):
            parts.append(_mark(across.at(point[0]), upward.at(point[1]), index, report))
    parts += _legend(report, foot + LEGEND)
    return document(width, foot + LEGEND + ROW * len(report.models), parts)


def _psnr_db(model: ScoredModel) -> float:
    if model.quality is None or math.isinf(model.quality.psnr_db):
        raise EdgeSRError(f"{model.label} has no finite PSNR to draw; give --lr and --hr with pairs of images")
    return model.quality.psnr_db


def _panels(report: ScoreReport) -> list[tuple[str, Callable[[ScoredModel], float]]]:
    """What each panel shows, and how it is read."""
    panels: list[tuple[str, Callable[[ScoredModel], float]]] = [
        ("FLOPs, G", lambda model: model.complexity.macs / 1e9),
        ("parameters, M", lambda model: model.complexity.parameters / 1e6),
    ]
    if report.has_timing:
        panels.insert(0, ("runtime, ms", lambda model: model.timing.median_ms if model.timing else math.nan))
    return panels


def _axis(values: Sequence[float], narrowest: float, start: float, end: float) -> _Axis:
    middle = (min(values) + max(values)) / 2
    half = max((max(values) - min(values)) * (0.5 + MARGIN), narrowest / 2, TINIEST)
    return _Axis(middle - half, middle + half, start, end)


def _head(report: ScoreReport) -> list[str]:
    quality = report.models[0].quality
    assert quality is not None  # _psnr_db refuses networks without
    about = f"{quality.n} images of {quality.lr_folder}; FLOPs and parameters as the NTIRE challenge counts them"
    height, width = report.size
    machine = f"{report.threads} thread{'s' if report.threads > 1 else ''}, {report.environment.get('processor', '')}"
    timed = f"runtime: PyTorch eager at {height}x{width}, {machine}" if report.has_timing else "no run was timed"
    return [
        text(16, 24, "Quality against cost: up and to the left is better", 'font-size="15" font-weight="bold"'),
        text(16, 42, about, f'fill="{PALE}" font-size="11"'),
        text(16, 57, timed, f'fill="{PALE}" font-size="11"'),
    ]


def _grid_of_quality(upward: _Axis, right: float) -> list[str]:
    """PSNR along the left edge, and a line through all panels for each mark of it."""
    parts = []
    for tick in round_ticks(upward.low, upward.high, TICKS):
        y = upward.at(tick)
        parts.append(line(LEFT, y, right, y, f'stroke="{GRID}"'))
        parts.append(text(LEFT - 6, y + 4, f"{tick:.10g} dB", f'text-anchor="end" fill="{PALE}" font-size="11"'))
    return parts


def _frame(across: _Axis, foot: float, title: str) -> list[str]:
    """A panel's two edges, its marks and what it shows."""
    parts = [
        line(across.start, foot, across.end, foot, f'stroke="{PALE}"'),
        line(across.start, HEAD, across.start, foot, f'stroke="{PALE}"'),
        text((across.start + across.end) / 2, foot + 32, title, 'text-anchor="middle"'),
    ]
    for tick in round_ticks(across.low, across.high, TICKS):
        x = across.at(tick)
        parts.append(line(x, foot, x, foot + 4, f'stroke="{PALE}"'))
        parts.append(text(x, foot + 16, f"{tick:,.10g}", f'text-anchor="middle" fill="{PALE}" font-size="11"'))
    return parts


def _mark(x: float, y: float, index: int, report: ScoreReport) -> str:
    colour = COLOURS[index % len(COLOURS)]
    if report.models[index].label == report.baseline:
        return f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="{colour}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="{colour}"/>'


def _legend(report: ScoreReport, top: float) -> list[str]:
    """Each network's mark, name and score."""
    parts = []
    for index, model in enumerate(report.models):
        y = top + ROW * index
        score = report.score(model)
        words = model.label if score is None else f"{model.label}: score {score.final:.3f}"
        words += " (the baseline)" if model.label == report.baseline else ""
        parts += [_mark(LEFT, y - 4, index, report), text(LEFT + 14, y, words, "")]
    return parts
