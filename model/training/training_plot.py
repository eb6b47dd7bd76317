"""A training run drawn as one SVG file: loss, PSNR and learning rate over steps, stages apart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgesr.model.training.training_log import LogRecord
from edgesr.svg import document, line, round_ticks, text

WIDTH, LEFT, RIGHT = 860, 70, 24
HEAD, PANEL, GAP = 50, 150, 46
PALE, GRID, TRAIN, VALIDATION = "#777777", "#e4e4e4", "#2f6fb3", "#b0433f"
TICKS = 4
Points = list[tuple[int, float]]


@dataclass(frozen=True)
class _Curve:
    name: str
    colour: str
    points: Points


@dataclass(frozen=True)
class _Frame:
    """Where steps and values of one panel lie in the picture."""

    top: float
    last: int
    low: float
    high: float

    def x(self, step: float) -> float:
        return LEFT + step / max(self.last, 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return self.top + PANEL * (1 - (value - self.low) / (self.high - self.low))


def draw_training(records: Sequence[LogRecord], title: str) -> str:
    """The SVG text; without records, a picture that says so."""
    if not records:
        return document(WIDTH, HEAD, [text(16, 24, f"{title}: nothing logged yet", 'font-size="15"')])
    panels = [
        ("loss, log10", [_curve(records, "loss", TRAIN, lambda r: _log10(r.loss))]),
        (
            "PSNR, dB",
            [
                _curve(records, "on the training crops", TRAIN, lambda r: r.train_psnr_db),
                _curve(records, "validation", VALIDATION, lambda r: r.validation_psnr_db),
            ],
        ),
        ("learning rate, log10", [_curve(records, "learning rate", TRAIN, lambda r: _log10(r.learning_rate))]),
    ]  # fmt: skip
    parts = [text(16, 24, title, 'font-size="15" font-weight="bold"')]
    for index, (name, curves) in enumerate(panels):
        parts += _panel(name, curves, records, HEAD + index * (PANEL + GAP) + 14)
    return document(WIDTH, HEAD + len(panels) * (PANEL + GAP), parts)


def _curve(records: Sequence[LogRecord], name: str, colour: str, value: Callable[[LogRecord], float | None]) -> _Curve:
    found = [(record.step, value(record)) for record in records]
    return _Curve(name, colour, [(step, y) for step, y in found if y is not None and math.isfinite(y)])


def _panel(name: str, curves: Sequence[_Curve], records: Sequence[LogRecord], top: float) -> list[str]:
    values = [y for curve in curves for _, y in curve.points] or [0.0]
    margin = 0.05 * (max(values) - min(values)) or 0.5
    frame = _Frame(top, records[-1].step, min(values) - margin, max(values) + margin)
    parts = [text(LEFT, top - 6, name, 'font-weight="bold"'), *_axes(frame)]
    for before, after in itertools.pairwise(records):
        if after.stage != before.stage:
            x = frame.x(before.step)
            parts.append(line(x, top, x, top + PANEL, f'stroke="{PALE}" stroke-dasharray="3 3"'))
    for index, curve in enumerate(entry for entry in curves if entry.points):
        parts.append(_polyline(curve, frame))
        if len(curves) > 1:
            words = f'text-anchor="end" fill="{curve.colour}"'
            parts.append(text(WIDTH - RIGHT - 170 * index, top - 6, f"{curve.name} {curve.points[-1][1]:.2f}", words))
    return parts


def _log10(value: float) -> float:
    return math.log10(max(value, 1e-12))


def _polyline(curve: _Curve, frame: _Frame) -> str:
    points = " ".join(f"{frame.x(step):.1f},{frame.y(value):.1f}" for step, value in curve.points)
    return f'<polyline points="{points}" fill="none" stroke="{curve.colour}" stroke-width="1.5"/>'


def _axes(frame: _Frame) -> list[str]:
    """Values at the left, steps below."""
    parts = []
    for value in round_ticks(frame.low, frame.high, TICKS):
        y = frame.y(value)
        parts.append(line(LEFT, y, WIDTH - RIGHT, y, f'stroke="{GRID}"'))
        parts.append(text(LEFT - 6, y + 4, f"{value:g}", f'text-anchor="end" fill="{PALE}"'))
    for step in round_ticks(0, frame.last, TICKS):
        words = f'text-anchor="middle" fill="{PALE}"'
        parts.append(text(frame.x(step), frame.top + PANEL + 16, f"{step:,.0f}", words))
    return parts
