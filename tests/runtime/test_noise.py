"""The statistics of `bench compare` on simulated noise: what they must call, and what they must not.

Noise as machines make it: jitter of 2 %, one run in twenty up to three times as long, a drift over the whole record,
levels that shift from block to block; drift and shifts fall on a yardstick alike, jitter and spikes do not. Each record
also has a state of its own, which no look into it can show.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from edgesr.runtime.noise import BETWEEN_RUNS, FEWEST, MedianEstimate, MedianRatio, Z, compare_medians, estimate_median

RECORDS = 250
POWER, FALSE_CALLS = 0.95, 0.02
JITTER, SPIKES, LONGEST = 0.02, 0.05, 3.0
BLOCK = 10


@dataclass(frozen=True)
class Machine:
    """Standard deviations in logarithms, and the greatest drift to either side."""

    drift: float = 0.015
    shift: float = 0.007
    state: float = 0.003

    def common(self, n: int, random: np.random.Generator) -> np.ndarray:
        """What falls on all subjects of a record alike, turn by turn."""
        levels = np.repeat(random.normal(0, self.shift, -(-n // BLOCK)), BLOCK)[:n]
        drift = random.uniform(-self.drift, self.drift) * np.linspace(-1, 1, n)
        return np.asarray(random.normal(0, self.state) + drift + levels)


def samples(ms: float, common: np.ndarray, random: np.random.Generator) -> np.ndarray:
    spikes = np.where(random.random(len(common)) < SPIKES, np.log(random.uniform(1.2, LONGEST, len(common))), 0)
    return np.asarray(math.log(ms) + common + random.normal(0, JITTER, len(common)) + spikes)


def estimate(ms: float, machine: Machine, yardstick: bool, random: np.random.Generator, n: int = 50) -> MedianEstimate:
    common = machine.common(n, random)
    y = samples(ms, common, random)
    return estimate_median(y - samples(20.0, common, random) if yardstick else y)


def called(change: float, machine: Machine, yardstick: bool) -> Sequence[MedianRatio]:
    """Comparisons of records of which the second is `change` times as slow."""
    random = np.random.default_rng(round(change * 1000))
    return [
        compare_medians(
            estimate(10.0, machine, yardstick, random), estimate(10.0 * change, machine, yardstick, random)
        )
        for _ in range(RECORDS)
    ]  # fmt: skip


def share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


@pytest.mark.parametrize("yardstick", [False, True], ids=["milliseconds", "ratios"])
@pytest.mark.parametrize("change", [1.05, 1 / 1.05], ids=["slower", "faster"])
def test_a_change_of_five_per_cent_is_called(change: float, yardstick: bool) -> None:
    found = called(change, Machine(), yardstick)
    assert share([row.differs and (row.ratio > 1) == (change > 1) for row in found]) >= POWER


NOISY = [Machine(), Machine(drift=0.03, shift=0.012), Machine(0.0, 0.0, 0.0)]


@pytest.mark.parametrize("yardstick", [False, True], ids=["milliseconds", "ratios"])
@pytest.mark.parametrize("machine", NOISY, ids=str)
def test_two_records_of_the_same_are_not_called_different(machine: Machine, yardstick: bool) -> None:
    assert share([row.differs for row in called(1.0, machine, yardstick)]) <= FALSE_CALLS


def test_a_yardstick_takes_out_what_the_machine_does() -> None:
    """A record on a machine whose clock is 8 % lower is called slower in milliseconds, and not by the ratio."""
    slower = Machine(state=0.08)
    assert share([row.differs for row in called(1.0, slower, yardstick=False)]) > 0.5
    assert share([row.differs for row in called(1.0, slower, yardstick=True)]) <= FALSE_CALLS


def test_the_interval_holds_the_true_ratio_and_the_smallest_is_seen() -> None:
    found = called(1.05, Machine(), yardstick=True)
    assert share([row.low <= 1.05 <= row.high for row in found]) >= 0.98
    random = np.random.default_rng(5)
    smallest = float(np.median([row.smallest for row in found]))
    pairs = [
        compare_medians(estimate(10, Machine(), True, random), estimate(10 * smallest, Machine(), True, random))
        for _ in range(RECORDS)
    ]
    assert 1.0 < smallest < 1.06 and share([row.differs for row in pairs]) >= 0.93


def test_the_error_of_independent_samples_is_that_of_theory() -> None:
    """sqrt(pi / 2) sigma / sqrt(n) for the median of normal samples, up to the largest of three noisy estimates."""
    random = np.random.default_rng(1)
    found = np.mean([estimate_median(random.normal(0, 0.02, 200)).standard_error for _ in range(100)])
    assert 1.0 < found / (math.sqrt(math.pi / 2) * 0.02 / math.sqrt(200)) < 1.5


def test_drift_over_the_whole_run_widens_the_error() -> None:
    random = np.random.default_rng(2)
    steady = random.normal(0, 0.002, 50)
    drifting = steady + np.linspace(-0.05, 0.05, 50)
    parts = [np.median(drifting[i : i + 10]) for i in range(0, 50, 10)]
    assert estimate_median(drifting).standard_error >= np.std(parts, ddof=1) / math.sqrt(5) * 0.999
    assert estimate_median(drifting).standard_error > 10 * estimate_median(steady).standard_error


def test_formulas() -> None:
    found = compare_medians(MedianEstimate(1.0, 0.03), MedianEstimate(1.1, 0.04))
    half = Z * 0.05 - math.log(1 - BETWEEN_RUNS)
    assert found.ratio == pytest.approx(math.exp(0.1)) and found.low == pytest.approx(math.exp(0.1 - half))
    assert found.high == pytest.approx(math.exp(0.1 + half))
    assert found.smallest == pytest.approx(math.exp(half - math.log(1 - BETWEEN_RUNS) + 1.645 * 0.05))
    assert not found.differs


def test_no_change_below_what_others_took_is_called() -> None:
    y = np.random.default_rng(3).normal(0, 1e-6, 50)
    old, new = estimate_median(y), estimate_median(y + math.log(1.25))
    assert compare_medians(old, new, others=0.19).differs and not compare_medians(old, new, others=0.21).differs
    assert not compare_medians(old, new, others=1.0).differs
    assert compare_medians(old, new, others=0.001) == compare_medians(old, new)


def test_the_same_samples_give_the_same_answer_and_a_per_cent_is_never_called() -> None:
    y = np.random.default_rng(3).normal(0, 1e-6, 50)
    assert estimate_median(y) == estimate_median(y.copy())
    assert not compare_medians(estimate_median(y), estimate_median(y + math.log(1.0095))).differs
    assert compare_medians(estimate_median(y), estimate_median(y + math.log(1.0107))).differs


@pytest.mark.parametrize("n", [1, FEWEST - 1])
def test_too_few_samples_tell_nothing(n: int) -> None:
    few = estimate_median(np.zeros(n))
    found = compare_medians(few, estimate_median(np.ones(50)))
    assert math.isinf(few.standard_error) and not found.differs
    assert (found.low, found.high, found.smallest) == (0.0, math.inf, math.inf)


def test_the_fewest_samples_and_a_length_that_does_not_divide() -> None:
    for n in (FEWEST, 11, 53, 77):
        assert 0 < estimate_median(np.random.default_rng(n).normal(0, 0.02, n)).standard_error < 0.1
