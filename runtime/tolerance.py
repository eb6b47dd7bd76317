"""How far a runtime may be from the reference, by precision; docs/numerics.md derives each number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesr.target import Precision


@dataclass(frozen=True)
class FloatTolerance:
    """Limits on a float output against the float64 network.

    `max_relative` bounds the largest error over the largest value, `relative_l2` the norm of the error over the norm of
    the reference, `psnr_db` (peak: the value range) from below.
    """

    max_relative: float
    relative_l2: float
    psnr_db: float


@dataclass(frozen=True)
class IntegerTolerance:
    """Limits on an INT8 output.

    `max_lsb` bounds each operator, in steps, given the runtime's own inputs to it. End to end, where gates amplify
    single steps, the runtime's PSNR to the float64 network may lie `psnr_loss_db` below that of exact integer
    arithmetic.
    """

    max_lsb: int
    psnr_loss_db: float


FLOAT_TOLERANCES: Mapping[Precision, FloatTolerance] = {
    Precision.FP32: FloatTolerance(max_relative=5e-5, relative_l2=2e-6, psnr_db=86.0),
    Precision.FP16: FloatTolerance(max_relative=2.5e-2, relative_l2=2.5e-3, psnr_db=60.0),
}
INTEGER_TOLERANCE = IntegerTolerance(max_lsb=1, psnr_loss_db=0.5)
