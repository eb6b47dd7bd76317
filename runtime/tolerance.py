"""How far a runtime may be from the reference, by precision; docs/numerics.md derives each number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgesr.target import Precision


@dataclass(frozen=True)
class FloatTolerance:
    """Limits on a float output against the float64 network.

    `max_abs` bounds the largest error (of an image in [0, 1], or of any tensor over its largest value), `relative_l2`
    the norm of the error over the norm of the reference, `psnr_db` (peak: the value range) from below. `is_capped`
    limits would be wider if they followed PyTorch's own error all the way.
    """

    max_abs: float
    relative_l2: float
    psnr_db: float
    is_capped: bool = False

    @property
    def cap(self) -> str:
        """What to say of the limits where they are capped."""
        return " (PyTorch's float32 errs too, more than rounding excuses)" if self.is_capped else ""

    def scaled(self, value_range: float) -> FloatTolerance:
        """The limits for an image in [0, value_range]."""
        return replace(self, max_abs=self.max_abs * value_range)

    def at_least(self, max_abs: float, relative_l2: float, psnr_db: float, widest: FloatTolerance) -> FloatTolerance:
        """The limits, widened to `YARDSTICK_FACTOR` times given errors where those are larger, to `widest` at most.

        Errors that are not finite widen nothing: a network that overflows must not pass for that.
        """
        if not math.isfinite(max_abs + relative_l2):
            return self
        wanted = FloatTolerance(
            max(self.max_abs, YARDSTICK_FACTOR * max_abs),
            max(self.relative_l2, YARDSTICK_FACTOR * relative_l2),
            min(self.psnr_db, psnr_db - 20 * math.log10(YARDSTICK_FACTOR)),
        )
        given = FloatTolerance(
            min(wanted.max_abs, widest.max_abs),
            min(wanted.relative_l2, widest.relative_l2),
            max(wanted.psnr_db, widest.psnr_db),
        )
        return replace(given, is_capped=given != wanted)

    def beside(self, max_abs: float, relative_l2: float, psnr_db: float) -> FloatTolerance:
        """The limits for an output that has these errors already, independent of the runtime's own: powers add up."""
        power = 10 ** (-self.psnr_db / 10) + 10 ** (-psnr_db / 10)
        errors = self.max_abs + max_abs, math.hypot(self.relative_l2, relative_l2), -10 * math.log10(power)
        return FloatTolerance(*errors, self.is_capped)


@dataclass(frozen=True)
class IntegerTolerance:
    """Limits on an INT8 output.

    `max_lsb` bounds each operator, in steps, given the runtime's own inputs to it. A wrong scale moves small values by
    less than a step: over a tensor or channel of many values, `max_gain_error` bounds the slope of the output against
    exact arithmetic, and `max_shift_lsb` its mean distance, in steps. Both leave room for `stray_share` of the values
    to be rounded the other way although they are no ties: all in the worst direction, and six standard deviations of
    their number. End to end, where gates amplify single steps, the runtime's PSNR to the float64 network may lie
    `psnr_loss_db` below that of exact integer arithmetic, and three times the standard error that a mean square of few
    values has.
    """

    max_lsb: int
    psnr_loss_db: float
    max_gain_error: float
    max_shift_lsb: float
    stray_share: float

    def gain_limit(self, count: np.ndarray, magnitude: np.ndarray, square: np.ndarray) -> np.ndarray:
        """The limit on slope - 1 for `count` values whose magnitudes and squares have these sums, in steps."""
        strays = self.stray_share * magnitude + STANDARD_DEVIATIONS * np.sqrt(self.stray_share * square)
        return np.where(count < MANY_VALUES, np.inf, self.max_gain_error + strays / np.maximum(square, 1.0))

    def shift_limit(self, count: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
        """The limit on the mean distance of `count` values whose magnitudes have this sum, in steps."""
        count = np.maximum(count, 1)
        strays = self.stray_share + STANDARD_DEVIATIONS * np.sqrt(self.stray_share / count)
        by_gain = self.max_gain_error * magnitude / count
        return np.where(count < MANY_VALUES, np.inf, self.max_shift_lsb + by_gain + strays)

    def loss_limit_db(self, values: int) -> float:
        """The limit for an image of that many values: a mean square of n has a relative deviation of sqrt(2 / n)."""
        return self.psnr_loss_db + 3 * DB_PER_RELATIVE_CHANGE * math.sqrt(2 / values)


MANY_VALUES = 256
STANDARD_DEVIATIONS = 6
DB_PER_RELATIVE_CHANGE = 10 / math.log(10)

YARDSTICK_FACTOR = 3.0
"""How many times PyTorch's own rounding error a float runtime may show where that exceeds its limits."""
FLOAT_TOLERANCES: Mapping[Precision, FloatTolerance] = {
    Precision.FP32: FloatTolerance(max_abs=5e-5, relative_l2=2e-6, psnr_db=86.0),
    Precision.FP16: FloatTolerance(max_abs=2.5e-2, relative_l2=2.5e-3, psnr_db=60.0),
}
WIDEST_ON_NATURAL: Mapping[Precision, FloatTolerance] = {
    Precision.FP32: FloatTolerance(max_abs=2e-3, relative_l2=4e-3, psnr_db=54.0),
    Precision.FP16: FloatTolerance(max_abs=0.1, relative_l2=1e-2, psnr_db=48.0),
}
"""What a limit is widened to at most on natural images, whatever PyTorch's own error there.

FP32: 40 times the largest error, half an 8-bit step, at every value of an image of root mean square 0.5. FP16: 4 times
all limits. The released checkpoints come to 1.2 times in FP32 and never widen those of FP16. Beyond, it is no rounding
that PyTorch's float32 shows but another computation, such as one on an image that the network had changed.
"""
WIDEST_ON_NOISE: Mapping[Precision, FloatTolerance] = {
    Precision.FP32: FloatTolerance(max_abs=2e-2, relative_l2=4e-2, psnr_db=34.0),
    Precision.FP16: FloatTolerance(max_abs=10.0, relative_l2=1.0, psnr_db=8.0),
}
"""The same on noise: 400 times the largest error. The released checkpoints come to 95 times in FP32, 157 in FP16."""
INTEGER_TOLERANCE = IntegerTolerance(
    max_lsb=1, psnr_loss_db=0.5, max_gain_error=0.005, max_shift_lsb=0.125, stray_share=0.01
)
"""Gain: kernels multiply by numbers of 8 bits or more, two of them in a row at most: 2 * 2^-9 of the value."""

WIDE_TOLERANCE = replace(INTEGER_TOLERANCE, max_lsb=3, max_gain_error=2**-14)
"""For 16-bit outputs.

Gain: kernels with 64-bit sums multiply by numbers of 16 bits, rounded, two of them in a row at most: 2 * 2^-16 of the
value, and as much again. Steps: at full scale, 2^15, each of these is off by half a step, the rounding between them and
at the end by half a step each: 2, and 1 to spare.
"""

INTEGER_TOLERANCES: Mapping[int, IntegerTolerance] = {8: INTEGER_TOLERANCE, 16: WIDE_TOLERANCE}
"""By the bits of an operator's output."""
