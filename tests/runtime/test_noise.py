"""The statistics of `bench compare` on simulated noise: what they must call, and what they must not.

Noise as machines make it: jitter of 2 %, one run in twenty up to three times as long, a drift over the whole record,
levels that shift from block to block; drift and shifts fall on a yardstick alike, jitter and spikes do not. Each record
also has a state of its own, which no look into it can show. On phones each block is a process with a level of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from edgesr.runtime.noise import (
    BETWEEN_RUNS,
    FEWEST,
    FEWEST_BLOCKS,
    STUDENT,
    MedianEstimate,
    MedianRatio,
    Z,
    compare_medians,
    estimate_median,
)

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


PROCESSES, PROCESS_SD, PAIRS = 5, 0.03, 2000


def in_processes(
    change: float, sd: float, lengths: Sequence[int], random: np.random.Generator, blind: bool = False
) -> MedianEstimate:
    """A record of a process for each block, each with a level of its own; `blind` does not tell of its blocks."""
    levels = np.repeat(random.normal(0, sd, len(lengths)), lengths)
    y = math.log(10 * change) + levels + random.normal(0, 0.01, len(levels))
    return estimate_median(y, () if blind else lengths)


def called_in_processes(change: float, sd: float, first: Sequence[int], second: Sequence[int]) -> list[MedianRatio]:
    random = np.random.default_rng(round(change * 1000))
    return [
        compare_medians(in_processes(1, sd, first, random), in_processes(change, sd, second, random))
        for _ in range(PAIRS)
    ]


BLOCKS: list[tuple[Sequence[int], Sequence[int]]] = [
    ((10,) * 5, (10,) * 5),
    ((5,) * 10, (5,) * 10),
    ((1,) * 10, (1,) * 10),
    ((13, 13, 12, 12), (13, 13, 12, 12)),
    ((13, 13, 12, 12), (5,) * 10),
]


@pytest.mark.parametrize("sd", [0.0, 0.003, 0.02, PROCESS_SD])
@pytest.mark.parametrize(("first", "second"), BLOCKS, ids=lambda lengths: f"{len(lengths)}-blocks")
def test_processes_of_the_same_file_are_not_called_different(
    first: Sequence[int], second: Sequence[int], sd: float
) -> None:
    assert share([row.differs for row in called_in_processes(1.0, sd, first, second)]) <= FALSE_CALLS


@pytest.mark.parametrize("change", [1.1, 1 / 1.1], ids=["slower", "faster"])
def test_a_change_of_ten_per_cent_is_called_over_processes(change: float) -> None:
    lengths = (10,) * PROCESSES
    found = called_in_processes(change, PROCESS_SD, lengths, lengths)
    assert share([row.differs and (row.ratio > 1) == (change > 1) for row in found]) >= POWER


def test_samples_of_few_processes_know_too_little_of_their_noise() -> None:
    """What the blocks are for: taken as one process, records of the same are called different."""
    random, lengths = np.random.default_rng(8), (17, 17, 16)
    blind = [[in_processes(1, PROCESS_SD, lengths, random, blind=True) for _ in range(2)] for _ in range(RECORDS)]
    assert share([compare_medians(*pair).differs for pair in blind]) > 2 * FALSE_CALLS
    one = [[in_processes(1, PROCESS_SD, (50,), random, blind=True) for _ in range(2)] for _ in range(RECORDS)]
    assert share([compare_medians(*pair).differs for pair in one]) > 0.4


@pytest.mark.parametrize("blocks", range(1, FEWEST_BLOCKS))
def test_too_few_blocks_tell_nothing(blocks: int) -> None:
    random = np.random.default_rng(4)
    few, enough = (in_processes(change, 0.0, (20,) * k, random) for change, k in ((1, blocks), (2, 5)))
    for pair in ((few, enough), (enough, few), (few, few)):
        found = compare_medians(*pair)
        assert not found.differs and (found.low, found.high, found.smallest) == (0.0, math.inf, math.inf)


def test_the_smallest_change_is_seen_over_processes() -> None:
    lengths = (10,) * PROCESSES
    usual = called_in_processes(1.0, PROCESS_SD, lengths, lengths)
    smallest = float(np.median([row.smallest for row in usual]))
    assert 1.05 < smallest < 1.15
    assert share([row.differs for row in called_in_processes(smallest, PROCESS_SD, lengths, lengths)]) >= 0.93


def test_formulas_of_blocks() -> None:
    medians = np.array([1.0, 1.1, 1.2, 1.4])
    found = estimate_median(np.repeat(medians, (1, 5, 2, 3)), (1, 5, 2, 3))
    assert found.log_median == pytest.approx(1.175) and found.blocks == 4
    assert found.standard_error == pytest.approx(np.std(medians, ddof=1) / 2)
    b = -math.log(1 - BETWEEN_RUNS)
    both = compare_medians(MedianEstimate(1.0, 0.03, 4), MedianEstimate(1.1, 0.04, 7))
    half = math.hypot(3.143 * 0.05, b)
    assert both.low == pytest.approx(math.exp(0.1 - half)) and both.high == pytest.approx(math.exp(0.1 + half))
    assert both.smallest == pytest.approx(math.exp(half + math.hypot(1.943 * 0.05, b)))
    one = compare_medians(MedianEstimate(1.0, 0.03, 4), MedianEstimate(1.1, 0.04))
    assert one.low == pytest.approx(math.exp(0.1 - 4.541 * 0.05 - b))


def test_equal_blocks_leave_the_floor_of_a_per_cent() -> None:
    old = estimate_median(np.zeros(50), (10,) * 5)
    assert not compare_medians(old, estimate_median(np.full(50, math.log(1.0095)), (10,) * 5)).differs
    assert compare_medians(old, estimate_median(np.full(50, math.log(1.0105)), (10,) * 5)).differs


def test_the_table_is_student_s_distribution() -> None:
    """Each point against the integral of the density, summed up."""
    for freedom, level, power in STUDENT:
        x = np.linspace(0, level, 20001)
        density = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
        y = density * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
        below = np.concatenate([[0], np.cumsum((y[1:] + y[:-1]) / 2 * np.diff(x))])
        assert below[-1] == pytest.approx(0.49, abs=5e-5)
        assert np.interp(power, x, below) == pytest.approx(0.45, abs=5e-5)
