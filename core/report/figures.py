"""Small drawings within a page: a bar in a table's cell, and the samples of a benchmark over its runs.

They take their colours from the page's style sheet by class, so that they follow light and dark.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edgesr.report.html import Html, element
from edgesr.svg import round_step, round_ticks

BAR_WIDTH, BAR_HEIGHT = 100, 10
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 180, 46, 8, 18, 20
"""Of a plot of samples, and its margins: small enough for a phone at full size."""
MARGIN, CEILING = 0.10, 1.60
"""What a plot shows at least to both sides of the median and at most above it, as shares of the median."""
TICKS = 4


def bar(share: float) -> Html:
    """A horizontal bar, full at 1; the cell's text says the value."""
    filled = BAR_WIDTH * min(max(share, 0.0), 1.0)
    return element(
        "svg",
        element("rect", width=BAR_WIDTH, height=BAR_HEIGHT, rx=2, class_="rest"),
        element("rect", width=f"{filled:.1f}", height=BAR_HEIGHT, rx=2, class_="part"),
        class_="bar", viewBox=f"0 0 {BAR_WIDTH} {BAR_HEIGHT}", preserveAspectRatio="none", aria_hidden="true",
    )  # fmt: skip


@dataclass(frozen=True)
class _Scale:
    """Where runs and values lie in a plot."""

    low: float
    high: float
    count: int

    def x(self, index: float) -> float:
        """The middle of run `index`; -0.5 is the left edge."""
        return LEFT + (index + 0.5) * (WIDTH - LEFT - RIGHT) / self.count

    def y(self, value: float) -> float:
        """A value, held within the plot."""
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (min(value, self.high) - self.low) / (self.high - self.low))


def samples_plot(values: Sequence[float], unit: str, description: str, block_lengths: Sequence[int] = ()) -> Html:
    """Every sample over the index of its run, and the median; blocks of runs are shaded in turn.

    The scale does not start at 0. Samples far above the median are triangles at the upper edge.
    """
    median = statistics.median(values)
    low, high = min(min(values), median * (1 - MARGIN)), max(max(values), median * (1 + MARGIN))
    high = min(high, median * CEILING)
    pad = 0.05 * (high - low)
    scale = _Scale(max(0.0, low - pad), high + pad, len(values))
    line = " ".join(f"{scale.x(i):.1f},{scale.y(value):.1f}" for i, value in enumerate(values))
    return element(
        "svg",
        _blocks(block_lengths, scale),
        _axes(scale, unit),
        element("polyline", points=line, class_="curve"),
        [_dot(scale, i, value) for i, value in enumerate(values)],
        element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{scale.y(median):.1f}", y2=f"{scale.y(median):.1f}",
                class_="median"),
        class_="plot", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=description,
    )  # fmt: skip


def _blocks(lengths: Sequence[int], scale: _Scale) -> list[Html]:
    parts, start = [], 0
    for index, length in enumerate(lengths):
        if index % 2:
            left, right = scale.x(start - 0.5), scale.x(start + length - 0.5)
            parts.append(element("rect", x=f"{left:.1f}", y=TOP, width=f"{right - left:.1f}",
                                 height=HEIGHT - TOP - BOTTOM, class_="block"))  # fmt: skip
        start += length
    return parts


def _axes(scale: _Scale, unit: str) -> list[Html]:
    parts = []
    for tick in round_ticks(scale.low, scale.high, TICKS):
        y = scale.y(tick)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
        parts.append(element("text", f"{tick:,.6g}", x=LEFT - 5, y=f"{y + 4:.1f}", text_anchor="end"))
    every = max(1, round(round_step(scale.count / 6)))
    for run in [1, *range(every, scale.count, every)] if every > 1 else range(1, scale.count + 1):
        parts.append(element("text", str(run), x=f"{scale.x(run - 1):.1f}", y=HEIGHT - 5, text_anchor="middle"))
    return [*parts, element("text", unit, x=LEFT - 5, y=TOP - 8, text_anchor="end")]


def _dot(scale: _Scale, index: int, value: float) -> Html:
    x, y = scale.x(index), scale.y(value)
    if value > scale.high:
        return element("path", d=f"M{x - 4:.1f},{y + 8:.1f} h8 l-4,-7 z", class_="beyond")
    return element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=1.8, class_="dot")
