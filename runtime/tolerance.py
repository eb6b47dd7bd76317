"""How far a runtime may be from the reference, by precision; docs/numerics.md derives each number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgesr.target import Precision


@dataclass(frozen=True)
class FloatTolerance:
    """Limits on a float output against the float64 network.

    `max_abs` bounds the largest error (of an image in [0, 1], or of any tensor over its largest value), `relative_l2`
    the norm of the error over the norm of the reference, `psnr_db` (peak: the value range) from below.
    """

    max_abs: float
    relative_l2: float
    psnr_db: float

    def scaled(self, value_range: float) -> FloatTolerance:
        """The limits for an image in [0, value_range]."""
        return replace(self, max_abs=self.max_abs * value_range)

    def at_least(self, max_abs: float, relative_l2: float, psnr_db: float) -> FloatTolerance:
        """The limits, widened to `YARDSTICK_FACTOR` times given errors where those are larger."""
        return FloatTolerance(
            max(self.max_abs, YARDSTICK_FACTOR * max_abs),
            max(self.relative_l2, YARDSTICK_FACTOR * relative_l2),
            min(self.psnr_db, psnr_db - 20 * math.log10(YARDSTICK_FACTOR)),
        )


@dataclass(frozen=True)
class IntegerTolerance:
    """Limits on an INT8 output.

    `max_lsb` bounds each operator, in steps, given the runtime's own inputs to it. End to end, where gates amplify
    single steps, the runtime's PSNR to the float64 network may lie `psnr_loss_db` below that of exact integer
    arithmetic, and three times the standard error that a mean square of few values has.
    """

    max_lsb: int
    psnr_loss_db: float

    def loss_limit_db(self, values: int) -> float:
        """The limit for an image of that many values: a mean square of n has a relative deviation of sqrt(2 / n)."""
        return self.psnr_loss_db + 3 * DB_PER_RELATIVE_CHANGE * math.sqrt(2 / values)


DB_PER_RELATIVE_CHANGE = 10 / math.log(10)

YARDSTICK_FACTOR = 3.0
"""How many times PyTorch's own rounding error a float runtime may show where that exceeds its limits."""

FLOAT_TOLERANCES: Mapping[Precision, FloatTolerance] = {
    Precision.FP32: FloatTolerance(max_abs=5e-5, relative_l2=2e-6, psnr_db=86.0),
    Precision.FP16: FloatTolerance(max_abs=2.5e-2, relative_l2=2.5e-3, psnr_db=60.0),
}
INTEGER_TOLERANCE = IntegerTolerance(max_lsb=1, psnr_loss_db=0.5)
