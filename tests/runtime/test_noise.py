"""The statistics of `bench compare` on simulated noise: what they must call, and what they must not.

Noise as machines make it: jitter of 2 %, one run in twenty up to three times as long, a drift over the whole record,
and a level of its own for each block, which is a process. Drift falls on a yardstick alike; jitter, spikes and most of
a process's level (where its memory lies) do not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from edgesr.runtime.noise import (
    BESIDE_A_YARDSTICK,
    FEWEST_BLOCKS,
    MILLISECONDS_ALONE,
    STUDENT,
    LevelEstimate,
    LevelRatio,
    block_levels,
    compare_levels,
    estimate_level,
    least_disturbed,
)

PAIRS = 2000
POWER, FALSE_CALLS = 0.95, 0.02
BY_CHANCE = 2.33 * math.sqrt(FALSE_CALLS * (1 - FALSE_CALLS) / PAIRS)
"""How far a count over PAIRS may lie above a true share of FALSE_CALLS, which is what the statistics are made for."""
JITTER, SPIKES, LONGEST = 0.02, 0.05, 3.0
HOST, PHONE = (4,) * 2 + (3,) * 14, (10,) * 5
"""The usual blocks of fifty runs."""


@dataclass(frozen=True)
class Machine:
    """Standard deviations in logarithms, and the greatest drift to either side.

    `process` is the level that a process gives one subject, `clock` what it gives all, `state` what a whole record has,
    `neighbour` the share of the blocks that somebody on the same core slows by up to a half, no two subjects alike.
    """

    process: float = 0.012
    clock: float = 0.01
    drift: float = 0.015
    state: float = 0.003
    neighbour: float = 0.0

    def common(self, lengths: Sequence[int], random: np.random.Generator) -> np.ndarray:
        """What falls on all subjects of a record alike, turn by turn."""
        levels = np.repeat(random.normal(0, self.clock, len(lengths)), lengths)
        drift = random.uniform(-self.drift, self.drift) * np.linspace(-1, 1, len(levels))
        return np.asarray(random.normal(0, self.state) + drift + levels)

    def samples(self, ms: float, lengths: Sequence[int], common: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """One subject's, in logarithms."""
        n = len(common)
        spikes = np.where(random.random(n) < SPIKES, np.log(random.uniform(1.2, LONGEST, n)), 0)
        levels = np.repeat(random.normal(0, self.process, len(lengths)), lengths)
        return np.asarray(math.log(ms) + common + levels + random.normal(0, JITTER, n) + spikes)

    def record(self, ms: float, lengths: Sequence[int], yardstick: bool, random: np.random.Generator) -> LevelEstimate:
        """What is known of a file that takes `ms`, beside a yardstick or alone."""
        common = self.common(lengths, random)
        slowed = random.random(len(lengths)) < self.neighbour
        levels = []
        for own in (ms, 20.0) if yardstick else (ms,):
            disturbed = np.repeat(np.where(slowed, random.uniform(0.05, 0.4, len(lengths)), 0.0), lengths)
            levels.append(block_levels(self.samples(own, lengths, common + disturbed, random), lengths))
        kept = least_disturbed(levels)
        return estimate_level((levels[0] - levels[1] if yardstick else levels[0])[kept])


def called(
    change: float, machine: Machine, yardstick: bool, first: Sequence[int] = HOST, second: Sequence[int] = HOST
) -> list[LevelRatio]:
    """Comparisons of records of which the second is `change` times as slow."""
    random = np.random.default_rng(round(change * 1000))
    return [
        compare_levels(
            machine.record(10.0, first, yardstick, random), machine.record(10.0 * change, second, yardstick, random),
            BESIDE_A_YARDSTICK if yardstick else MILLISECONDS_ALONE,
        )
        for _ in range(PAIRS)
    ]  # fmt: skip


def share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


both = pytest.mark.parametrize("yardstick", [False, True], ids=["milliseconds", "ratios"])


CHANGES = [(1.05, True, 0.0), (1 / 1.05, True, 0.0), (1.2, False, 0.0), (1.08, True, 0.3), (1 / 1.08, True, 0.3)]


@pytest.mark.parametrize(("change", "yardstick", "neighbour"), CHANGES)
def test_a_change_is_called(change: float, yardstick: bool, neighbour: float) -> None:
    """Of 5 % beside a yardstick (8 % with a neighbour in every third block), of a fifth in milliseconds alone."""
    found = called(change, Machine(neighbour=neighbour), yardstick)
    assert share([row.differs and (row.ratio > 1) == (change > 1) for row in found]) >= POWER


NOISY = [Machine(), Machine(process=0.03, drift=0.03), Machine(clock=0.04), Machine(0.0, 0.0, 0.0, 0.0),
         Machine(neighbour=0.4), Machine(process=0.03, neighbour=0.2)]  # fmt: skip
BLOCKS: list[tuple[Sequence[int], Sequence[int]]] = [
    (HOST, HOST), (PHONE, PHONE), ((1,) * 10, (1,) * 10), ((13, 13, 12, 12), (13, 13, 12, 12)), (PHONE, HOST),
]  # fmt: skip


@both
@pytest.mark.parametrize("machine", NOISY, ids=str)
@pytest.mark.parametrize(("first", "second"), BLOCKS, ids=lambda lengths: f"{len(lengths)}x{lengths[0]}")
def test_two_records_of_the_same_are_not_called_different(
    first: Sequence[int], second: Sequence[int], machine: Machine, yardstick: bool
) -> None:
    assert share([row.differs for row in called(1.0, machine, yardstick, first, second)]) <= FALSE_CALLS + BY_CHANCE


def test_a_yardstick_takes_out_what_the_machine_does() -> None:
    """Records of a machine whose clock differs by 20 % are called different in milliseconds, and not by the ratio."""
    slower = Machine(state=0.2)
    assert share([row.differs for row in called(1.0, slower, yardstick=False)]) > 0.5
    assert share([row.differs for row in called(1.0, slower, yardstick=True)]) <= FALSE_CALLS


@both
def test_the_interval_holds_the_true_ratio_and_the_smallest_is_seen(yardstick: bool) -> None:
    found = called(1.05, Machine(), yardstick)
    assert share([row.low <= 1.05 <= row.high for row in found]) >= 0.98
    smallest = float(np.median([row.smallest for row in found]))
    assert (1.04 < smallest < 1.07) if yardstick else (1.2 < smallest < 1.25)
    assert share([row.differs for row in called(smallest, Machine(), yardstick)]) >= 0.93


def test_ten_per_cent_are_called_over_five_processes_of_a_phone() -> None:
    restless = Machine(process=0.015, clock=0.02)
    assert share([row.differs and row.ratio > 1 for row in called(1.1, restless, True, PHONE, PHONE)]) >= POWER


def test_formulas() -> None:
    samples = np.array([1.0, *range(5), 2.0, 6.0, 3.0, 3.0, 3.0])
    levels = block_levels(samples, (1, 5, 2, 3))
    assert levels.tolist() == [1.0, 1.0, 3.0, 3.0], "the lower quartile of each"
    found = estimate_level(levels)
    assert (found.log_level, found.blocks) == (2.0, 4)
    assert found.standard_error == pytest.approx(np.std(levels, ddof=1) / 2)
    b = -math.log(1 - 0.03)
    both = compare_levels(LevelEstimate(1.0, 0.03, 4), LevelEstimate(1.1, 0.04, 7), 0.03)
    half = math.hypot(3.143 * 0.05, b)
    assert both.ratio == pytest.approx(math.exp(0.1)) and not both.differs
    assert both.low == pytest.approx(math.exp(0.1 - half)) and both.high == pytest.approx(math.exp(0.1 + half))
    assert both.smallest == pytest.approx(math.exp(half + math.hypot(1.943 * 0.05, b)))


def test_blocks_that_are_slower_for_all_are_left_out() -> None:
    a = np.array([0.0, 0.2, 0.0, 0.1, 0.0, 2.0, 0.0, 0.01, 0.02])
    b = np.array([5.0, 5.3, 5.2, 5.0, 5.0, 5.0, 5.0, 5.0, 5.03])
    assert least_disturbed([a, b]).tolist() == least_disturbed([b - 7, 100 + a]).tolist() == [0, 4, 6, 7, 8]
    assert least_disturbed([a]).tolist() == [0, 2, 4, 6, 7, 8], "each is all there is to judge by"
    assert [len(least_disturbed([np.arange(k)])) for k in (1, 3, 4, 5, 9)] == [1, 3, 4, 4, 4]
    assert least_disturbed([np.zeros(16)]).tolist() == list(range(16))


def test_no_change_below_what_others_took_is_called() -> None:
    old, new = estimate_level(np.zeros(10)), estimate_level(np.full(10, math.log(1.25)))
    floor = BESIDE_A_YARDSTICK
    assert compare_levels(old, new, floor, 0.19).differs and not compare_levels(old, new, floor, 0.21).differs
    assert not compare_levels(old, new, floor, 1.0).differs
    assert compare_levels(old, new, floor, 0.001) == compare_levels(old, new, floor)


@pytest.mark.parametrize("floor", [BESIDE_A_YARDSTICK, MILLISECONDS_ALONE])
def test_less_than_the_floor_is_never_called(floor: float) -> None:
    old = estimate_level(np.zeros(10))
    for factor, called_so in ((0.99, False), (1.01, True)):
        new = estimate_level(np.full(10, -factor * math.log(1 - floor)))
        assert compare_levels(old, new, floor).differs is called_so
        assert compare_levels(new, old, floor).differs is called_so


@pytest.mark.parametrize("blocks", range(1, FEWEST_BLOCKS))
def test_too_few_blocks_tell_nothing(blocks: int) -> None:
    few = estimate_level(block_levels(np.zeros(20 * blocks), (20,) * blocks if blocks > 1 else ()))
    enough = estimate_level(np.ones(10))
    assert few.blocks == blocks
    for pair in ((few, enough), (enough, few), (few, few)):
        found = compare_levels(*pair, BESIDE_A_YARDSTICK)
        assert not found.differs and (found.low, found.high, found.smallest) == (0.0, math.inf, math.inf)


def test_the_table_is_student_s_distribution() -> None:
    """Each point against the integral of the density, summed up."""
    for freedom, level, power in STUDENT:
        x = np.linspace(0, level, 20001)
        density = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
        y = density * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
        below = np.concatenate([[0], np.cumsum((y[1:] + y[:-1]) / 2 * np.diff(x))])
        assert below[-1] == pytest.approx(0.49, abs=5e-5)
        assert np.interp(power, x, below) == pytest.approx(0.45, abs=5e-5)
