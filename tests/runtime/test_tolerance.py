import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import pytest

from edgesr.runtime.tolerance import (
    FLOAT_TOLERANCES,
    INTEGER_TOLERANCE,
    WIDEST_ON_NATURAL,
    WIDEST_ON_NOISE,
    YARDSTICK_FACTOR,
    FloatTolerance,
)
from edgesr.target import Precision


def test_the_numbers_that_gate() -> None:
    """DESIGN section 6: nobody changes them in passing."""
    assert FLOAT_TOLERANCES[Precision.FP32] == FloatTolerance(5e-5, 2e-6, 86.0)
    assert FLOAT_TOLERANCES[Precision.FP16] == FloatTolerance(2.5e-2, 2.5e-3, 60.0)
    assert (INTEGER_TOLERANCE.max_lsb, INTEGER_TOLERANCE.psnr_loss_db) == (1, 0.5)
    assert (INTEGER_TOLERANCE.max_gain_error, INTEGER_TOLERANCE.max_shift_lsb) == (0.005, 0.125)
    assert INTEGER_TOLERANCE.stray_share == 0.01


def test_the_psnr_floor_follows_from_the_largest_error() -> None:
    """An error of 5e-5 everywhere is a PSNR of 86 dB: the floor adds nothing to FP32's largest error."""
    assert -20 * math.log10(FLOAT_TOLERANCES[Precision.FP32].max_abs) == pytest.approx(86.0, abs=0.05)


def test_absolute_errors_scale_with_the_value_range() -> None:
    assert FloatTolerance(5e-5, 2e-6, 86.0).scaled(255.0) == FloatTolerance(255 * 5e-5, 2e-6, 86.0)


def test_limits_widen_to_the_yardstick_alone() -> None:
    limits, widest = FloatTolerance(1e-3, 1e-4, 60.0), FloatTolerance(1.0, 1.0, 0.0)
    assert limits.at_least(1e-4, 1e-5, 90.0, widest) == limits, "a better yardstick narrows nothing"
    widened = limits.at_least(2e-3, 1e-5, 50.0, widest)
    assert not widened.is_capped
    assert widened.max_abs == YARDSTICK_FACTOR * 2e-3
    assert widened.relative_l2 == limits.relative_l2
    assert widened.psnr_db == pytest.approx(50.0 - 20 * math.log10(YARDSTICK_FACTOR))


@pytest.mark.parametrize("errors", [(math.inf, math.inf), (math.nan, 1e-9), (1e-9, math.inf)])
def test_a_yardstick_that_overflows_widens_nothing(errors: tuple[float, float]) -> None:
    limits = FloatTolerance(1e-3, 1e-4, 60.0)
    assert limits.at_least(*errors, 0.0, FloatTolerance(1.0, 1.0, 0.0)) == limits


@pytest.mark.parametrize("precision", FLOAT_TOLERANCES)
@pytest.mark.parametrize("caps", [WIDEST_ON_NATURAL, WIDEST_ON_NOISE], ids=["natural", "noise"])
def test_no_yardstick_widens_beyond_the_cap(precision: Precision, caps: Mapping[Precision, FloatTolerance]) -> None:
    limits, widest = FLOAT_TOLERANCES[precision].scaled(255.0), caps[precision].scaled(255.0)
    for error in (1e4, 1e30):
        widened = limits.at_least(error, error, -20 * math.log10(error), widest)
        assert widened == dataclasses.replace(widest, is_capped=True)
        assert widened.beside(1.0, 1.0, 10.0).is_capped and "more than rounding excuses" in widened.cap
    just = [0.999 * value / YARDSTICK_FACTOR for value in (widest.max_abs, widest.relative_l2)]
    found = limits.at_least(*just, widest.psnr_db + 20 * math.log10(YARDSTICK_FACTOR) + 0.1, widest)
    assert not found.is_capped and found.cap == ""


def test_the_caps_are_the_documented_multiples() -> None:
    gate, natural, noise = (table[Precision.FP32] for table in (FLOAT_TOLERANCES, WIDEST_ON_NATURAL, WIDEST_ON_NOISE))
    assert natural.max_abs == pytest.approx(40 * gate.max_abs) and noise.max_abs == pytest.approx(400 * gate.max_abs)
    assert natural.max_abs == pytest.approx(1 / 510, rel=0.03), "half an 8-bit step"
    assert natural.relative_l2 == pytest.approx(natural.max_abs / 0.5)
    assert natural.psnr_db == pytest.approx(-20 * math.log10(natural.max_abs), abs=0.1)
    gate, natural, noise = (table[Precision.FP16] for table in (FLOAT_TOLERANCES, WIDEST_ON_NATURAL, WIDEST_ON_NOISE))
    assert natural.max_abs == pytest.approx(4 * gate.max_abs) and natural.relative_l2 == 4 * gate.relative_l2
    assert natural.psnr_db == pytest.approx(gate.psnr_db - 20 * math.log10(4), abs=0.1)
    assert noise.max_abs == pytest.approx(400 * gate.max_abs)


def test_small_images_may_lose_more_psnr() -> None:
    """Three standard errors of a mean square: sqrt(2 / n) of it, 4.34 dB for each unit."""
    assert INTEGER_TOLERANCE.loss_limit_db(10**9) == pytest.approx(0.5, abs=1e-3)
    assert INTEGER_TOLERANCE.loss_limit_db(200) == pytest.approx(0.5 + 3 * 4.343 * 0.1, abs=1e-3)
    rng = np.random.default_rng(0)
    for n in (12, 200, 5000):
        errors = np.mean(rng.standard_normal((4000, n)) ** 2, axis=1)
        beyond = np.mean(10 * np.log10(errors) > INTEGER_TOLERANCE.loss_limit_db(n))
        assert beyond < 0.002, "honest noise stays below"


def arrays(*values: float) -> tuple[np.ndarray, ...]:
    return tuple(np.array([value]) for value in values)


def test_gain_limits_derive_from_the_strays() -> None:
    many = INTEGER_TOLERANCE.gain_limit(*arrays(1e9, 1e9 * 20, 1e9 * 600))
    assert many == pytest.approx(0.005 + 0.01 * 20 / 600, rel=1e-3)
    few = INTEGER_TOLERANCE.gain_limit(*arrays(1000, 1000 * 20, 1000 * 600))
    assert few == pytest.approx(0.005 + 0.01 * 20 / 600 + 6 * math.sqrt(0.01 / (1000 * 600)))
    assert INTEGER_TOLERANCE.gain_limit(*arrays(255, 1e4, 1e6)) == np.inf
    assert np.isfinite(INTEGER_TOLERANCE.gain_limit(*arrays(256, 0, 0))), "a dead channel divides by nothing"


def test_shift_limits_derive_from_the_strays() -> None:
    assert INTEGER_TOLERANCE.shift_limit(*arrays(1e9, 1e9 * 20)) == pytest.approx(0.125 + 0.005 * 20 + 0.01, rel=1e-3)
    assert INTEGER_TOLERANCE.shift_limit(*arrays(400, 0)) == pytest.approx(0.125 + 0.01 + 6 * 0.1 / 20)
    assert INTEGER_TOLERANCE.shift_limit(*arrays(255, 0)) == np.inf


def test_errors_of_an_output_beside_the_runtimes_own_add_up_as_powers() -> None:
    limits = FloatTolerance(0.01, 0.003, 60.0).beside(0.002, 0.004, 60.0)
    assert limits.max_abs == pytest.approx(0.012)
    assert limits.relative_l2 == pytest.approx(0.005)
    assert limits.psnr_db == pytest.approx(60 - 10 * math.log10(2))
    assert FloatTolerance(0.01, 0.003, 60.0).beside(0.0, 0.0, 400.0).psnr_db == pytest.approx(60)
