"""The few SVG elements that edgesr's plots are made of: one self-contained file, without script, font or link."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

INK = "#222222"


def document(width: int, height: int, parts: Iterable[str]) -> str:
    """The SVG text of a white picture with these elements, in 12-pixel sans-serif."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">'
    )
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="#ffffff"/>', *parts, "</svg>"]) + "\n"


def text(x: float, y: float, words: str, style: str) -> str:
    """Words from (x, y) on, escaped; `style` is attributes."""
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def round_step(step: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is not below `step`."""
    power = 10.0 ** (len(f"{step:.0f}") - 1) if step >= 1 else 1.0
    while power > step:
        power /= 10
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)


def round_ticks(low: float, high: float, count: int) -> list[float]:
    """Round values from `low` to `high`, evenly spaced, up to about `count` of them."""
    step = round_step((high - low) / count)
    ticks = [step * -(-low // step)]
    while ticks[-1] + step <= high:
        ticks.append(ticks[-1] + step)
    return ticks
