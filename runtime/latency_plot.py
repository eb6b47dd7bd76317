"""A benchmark record drawn as one SVG file: a panel for each result, its samples over the index of the run.

Self-contained: no script, no font, no link. Blocks between which other subjects had their turn are shaded in turn. The
dashed line is the median; the medians of the first and of the last third are drawn over their runs, in red where the
last is more than 1.10 of the first. A panel shows at least 10 % to both sides of the median, so that jitter is not
blown up, and at most 60 % above: samples beyond are triangles at its upper edge.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edgesr.runtime.bench import THROTTLED, Benchmark
from edgesr.runtime.bench_record import BenchRecord, Result
from edgesr.svg import document, line, round_step, round_ticks, text

PALE, GRID = "#777777", "#e4e4e4"
SAMPLE, MEDIAN, HOT, SHADE = "#2f6fb3", "#222222", "#b0433f", "#f2f5f9"
WIDTH, LEFT, RIGHT = 960, 84, 130
"""Of the picture, and what lies beside the panels: the axis, and the median's label."""
HEAD, TITLE, PANEL, LINE, GAP = 66, 22, 132, 15, 30
"""Heights: above all panels; of a panel's title, of the panel, of one warning; between panels."""
MARGIN, CEILING = 0.10, 1.60
"""What a panel shows at least to both sides of the median and at most above it, as shares of the median."""
TICKS = 4


@dataclass(frozen=True)
class _Scale:
    """Where a panel's values and runs lie in the picture."""

    top: float
    low: float
    high: float
    count: int

    def x(self, index: float) -> float:
        """The middle of run `index`; -0.5 is the panel's left edge."""
        return LEFT + (index + 0.5) * (WIDTH - LEFT - RIGHT) / self.count

    def y(self, value: float) -> float:
        """A value, held within the panel."""
        share = (min(value, self.high) - self.low) / (self.high - self.low)
        return self.top + PANEL * (1 - share)


def draw_record(record: BenchRecord) -> str:
    """The SVG text."""
    panels = [(result, result.warnings()) for result in record.results]
    foot = LINE * len(record.warnings) + 4
    height = HEAD + sum(TITLE + PANEL + LINE * len(found) + GAP for _, found in panels) + foot
    parts = _head(record)
    top = float(HEAD)
    for result, found in panels:
        parts += _panel(record, result, top + TITLE)
        parts += [_warning(warning, top + TITLE + PANEL + 14 + LINE * (i + 1)) for i, warning in enumerate(found)]
        top += TITLE + PANEL + LINE * len(found) + GAP
    parts += [_warning(warning, top + LINE * i + 4) for i, warning in enumerate(record.warnings)]
    return document(WIDTH, height, parts)


def _head(record: BenchRecord) -> list[str]:
    height, width = record.size
    unit = "latency" if any(isinstance(result, Benchmark) for result in record.results) else "instructions"
    machine = record.environment.get("processor", record.device)
    label = "" if record.emulated is None else f"; {record.emulated}"
    about = f"{machine}{label}, {record.started}; every panel has its own scale, which does not start at 0"
    return [
        text(16, 24, f"{unit} of every run at {height}x{width}, {record.device}", 'font-size="15" font-weight="bold"'),
        text(16, 43, about, f'fill="{PALE}" font-size="11"'),
    ]


def _panel(record: BenchRecord, result: Result, top: float) -> list[str]:
    values: Sequence[float] = result.latencies_ms if isinstance(result, Benchmark) else result.instructions
    median = statistics.median(values)
    low = min(min(values), median * (1 - MARGIN))
    high = min(max(max(values), median * (1 + MARGIN)), median * CEILING)
    pad = 0.04 * (high - low)
    scale = _Scale(top, max(0.0, low - pad), high + pad, len(values))
    threads = f"{record.threads_of(result)} thread{'s' if record.threads_of(result) > 1 else ''}"
    title = f"{result.name}, {result.runner}, {threads}, {len(values)} runs"
    return [
        text(LEFT, top - 7, title, 'font-weight="bold"'),
        *_blocks(result, scale),
        *_axis(scale, "ms" if isinstance(result, Benchmark) else "instr."),
        *_samples(values, scale),
        *_median(median, result, scale),
        *(_thirds(result, scale) if isinstance(result, Benchmark) else []),
    ]


def _blocks(result: Result, scale: _Scale) -> list[str]:
    """Every second block on a shade; one block has none."""
    parts, start = [], 0
    for i, length in enumerate(result.block_lengths if isinstance(result, Benchmark) else ()):
        if i % 2:
            left, right = scale.x(start - 0.5), scale.x(start + length - 0.5)
            parts.append(f'<rect x="{left:.1f}" y="{scale.top:.1f}" width="{right - left:.1f}" height="{PANEL}" '
                         f'fill="{SHADE}"/>')  # fmt: skip
        start += length
    return parts


def _axis(scale: _Scale, unit: str) -> list[str]:
    """Round values along the left edge, run numbers along the lower one."""
    parts = []
    for tick in round_ticks(scale.low, scale.high, TICKS):
        y = scale.y(tick)
        parts.append(line(LEFT, y, WIDTH - RIGHT, y, f'stroke="{GRID}"'))
        parts.append(text(LEFT - 6, y + 4, f"{tick:,.10g} {unit}", f'text-anchor="end" fill="{PALE}" font-size="11"'))
    bottom = scale.top + PANEL
    parts.append(line(LEFT, bottom, WIDTH - RIGHT, bottom, f'stroke="{PALE}"'))
    every = max(1, round(round_step(scale.count / 8)))
    numbers = [1, *range(every, scale.count + 1, every)] if every > 1 else list(range(1, scale.count + 1))
    parts += [
        text(scale.x(n - 1), bottom + 13, str(n), f'text-anchor="middle" fill="{PALE}" font-size="10"') for n in numbers
    ]
    return parts


def _samples(values: Sequence[float], scale: _Scale) -> list[str]:
    """A thin line through all samples, a dot for each, a triangle for each beyond the panel."""
    points = " ".join(f"{scale.x(i):.1f},{scale.y(value):.1f}" for i, value in enumerate(values))
    parts = [f'<polyline points="{points}" fill="none" stroke="{SAMPLE}" stroke-opacity="0.35"/>']
    for i, value in enumerate(values):
        x, y = scale.x(i), scale.y(value)
        if value > scale.high:
            parts.append(f'<path d="M{x - 4:.1f},{y + 8:.1f} h8 l-4,-7 z" fill="{HOT}"/>')
        else:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{SAMPLE}"/>')
    if max(values) > scale.high:
        words = f"up to {max(values):,.4g}"
        parts.append(text(WIDTH - RIGHT + 8, scale.top + 8, words, f'font-size="11" fill="{HOT}"'))
    return parts


def _median(median: float, result: Result, scale: _Scale) -> list[str]:
    y = scale.y(median)
    digits = 2 if median < 100 else 1 if median < 1000 else 0
    words = f"median {median:,.{digits}f} ms" if isinstance(result, Benchmark) else f"median {median:,.0f}"
    return [
        line(LEFT, y, WIDTH - RIGHT, y, f'stroke="{MEDIAN}" stroke-dasharray="5,4"'),
        text(WIDTH - RIGHT + 8, y + 4, words, 'font-size="11" font-weight="bold"'),
    ]


def _thirds(result: Benchmark, scale: _Scale) -> list[str]:
    """The medians of the first and the last third, where they differ by enough to be throttling."""
    slowdown, n = result.slowdown, len(result.latencies_ms)
    if slowdown is None or slowdown <= THROTTLED:
        return []
    parts = []
    for first, part in ((0, result.latencies_ms[: n // 3]), (n - n // 3, result.latencies_ms[-(n // 3) :])):
        y = scale.y(statistics.median(part))
        left, right = scale.x(first - 0.5), scale.x(first + len(part) - 0.5)
        parts.append(line(left, y, right, y, f'stroke="{HOT}" stroke-width="3"'))
    words = f"last third {slowdown:.2f} x"
    return [*parts, text(WIDTH - RIGHT + 8, max(y - 13, scale.top + 23), words, f'font-size="11" fill="{HOT}"')]


def _warning(words: str, y: float) -> str:
    return text(LEFT, y, f"warning: {words}", f'fill="{HOT}" font-size="11"')
