"""Do integers that lie within a step of exact arithmetic still lean one way? Then a scale or zero point is wrong.

With e = expected - zero point and d = found - expected, over all values and over each channel (the last axis):

    gain error = sum(d e) / sum(e^2),        shift = mean(d)

An honest runtime rounds only values near a half the other way; exact halves may go either way and do not count. A scale
that is wrong by 2 % gives a gain error of 0.02, a wrong zero point a shift of 1. `tolerance` derives the limits.
"""

from __future__ import annotations

import numpy as np

from edgesr.runtime.tolerance import INTEGER_TOLERANCE, IntegerTolerance

TIE = 1 / 64
"""How near a half, in steps, a value is taken for one."""


def describe_drift(
    found: np.ndarray, expected: np.ndarray, exact: np.ndarray, zero_point: int,
    tolerance: IntegerTolerance = INTEGER_TOLERANCE,
) -> str | None:  # fmt: skip
    """What drifts, None where nothing does; arrays (N, H, W, C) in steps, `exact` before rounding."""
    tied = np.abs(np.abs(exact - np.floor(exact)) - 0.5) <= TIE
    difference = np.where(tied & (np.abs(found - exact) <= 0.5 + TIE), 0.0, found - expected)
    d = difference.reshape(-1, found.shape[-1])
    e = (expected - zero_point).reshape(d.shape)
    whole = _excess(d.reshape(-1, 1), e.reshape(-1, 1), "", tolerance)
    channels = _excess(d, e, " in channel {}", tolerance)
    return max(whole, channels, key=lambda excess: excess[0])[1]


def _excess(d: np.ndarray, e: np.ndarray, where: str, tolerance: IntegerTolerance) -> tuple[float, str | None]:
    """How many times a limit the worst column drifts, and its description where that is more than once."""
    count, magnitude, square = np.full(d.shape[1], len(d)), np.abs(e).sum(0), (e**2).sum(0)
    gain, shift = (d * e).sum(0) / np.maximum(square, 1.0), d.mean(0)
    gain_limit = tolerance.gain_limit(count, magnitude, square)
    shift_limit = tolerance.shift_limit(count, magnitude)
    excess = np.maximum(np.abs(gain) / gain_limit, np.abs(shift) / shift_limit)
    worst = int(np.argmax(excess))
    if not excess[worst] > 1:
        return float(excess[worst]), None
    measured = f"gain {gain[worst]:+.2%}, shift {shift[worst]:+.2f} LSB{where.format(worst)}"
    limits = f"limits {gain_limit[worst]:.2%}, {shift_limit[worst]:.2f} LSB"
    return float(excess[worst]), f"{measured} ({limits}): a scale, zero point or bias is wrong"
