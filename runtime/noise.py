"""How well a run's median is known, and whether two medians differ: the statistics of docs/benchmarking.md.

Samples y_1..y_n are logarithms of latencies, or of latencies over those of a yardstick in the same turn. They are not
independent: a clock that changes, a neighbour on the machine or heat moves many in a row. The median's standard error
is the largest of three estimates, each blind to something that another sees:

    s = max(boot(n/10), boot(n/5), fifths)

boot(l) is the standard deviation of the median over circular block bootstrap samples of blocks of l (Politis and Romano
1992): within blocks the order stays, so short disturbances count as what they are. fifths is sd(m_1..m_5) / sqrt(5)
over the medians of five consecutive parts: an allowance for drift over the whole run, which no short block shows.

Where a run was made in k >= 4 blocks, as on phones, each block is a process: its memory, its core and its clock are
drawn again, and samples of one process share them. Then the blocks' medians m_1..m_k are the independent observations:

    M = mean(m_1..m_k),      s = sd(m_1..m_k) / sqrt(k)

Two runs differ by d = M' - M. With S = sqrt(s^2 + s'^2) and b = -log(1 - max(1 %, u, u')), they are called different
where |d| is above

    z S + b                z = 2.33 (98 %, two-sided)
    sqrt((t S)^2 + b^2)    where both have blocks; t as z, of Student's distribution, 2 min(k - 1, k' - 1) degrees
    t S + b                where one has blocks; k - 1 degrees

b is what no single process can show of itself: where the system put its memory, which clock its core had. Several
processes show it; there b is one more error, and adds as errors do. Either way a change below 1 % is never called. u is
the share of the machine's cores that others used or a hypervisor took during a run, where that was measured: where a
share u is gone, a run may take 1 / (1 - u) as long, one subject more than another. As b may hide as much of a true
change as it may feign, a change of z S + 2 b + 1.645 S is called with a probability of 95 %; with blocks, nearly so, of
sqrt((t S)^2 + b^2) + sqrt((p S)^2 + b^2), where p is Student's 95 % as 1.645 is the normal one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z = 2.33
BETWEEN_RUNS = 0.01
POWER_Z = 1.645
RESAMPLES = 200
SEED = 20261125
FIFTHS = 5
FEWEST = 10
"""Fewer samples tell nothing about their own noise."""
FEWEST_BLOCKS = 4
"""Fewer processes tell nothing about what differs between processes."""
STUDENT: tuple[tuple[int, float, float], ...] = (
    (3, 4.541, 2.353), (4, 3.747, 2.132), (5, 3.365, 2.015), (6, 3.143, 1.943), (8, 2.896, 1.860), (10, 2.764, 1.812),
    (12, 2.681, 1.782), (14, 2.624, 1.761), (16, 2.583, 1.746), (18, 2.552, 1.734), (20, 2.528, 1.725),
    (30, 2.457, 1.697), (60, 2.390, 1.671),
)  # fmt: skip
"""Degrees of freedom, and the points that Student's t exceeds with a probability of 1 % and of 5 %."""


@dataclass(frozen=True)
class MedianEstimate:
    """A run's median in logarithms, and its standard error; infinite where samples or blocks are too few.

    `blocks` is the number of processes that the error was taken from; 0 where it was taken from one process's samples.
    """

    log_median: float
    standard_error: float
    blocks: int = 0


@dataclass(frozen=True)
class MedianRatio:
    """The ratio of two medians, new over old, its 98 % interval, and the smallest ratio that 95 % would have seen."""

    ratio: float
    low: float
    high: float
    smallest: float

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out 1."""
        return not self.low <= 1 <= self.high


def estimate_median(y: np.ndarray, block_lengths: Sequence[int] = ()) -> MedianEstimate:
    """The median of samples in logarithms, in the order they were taken, and its standard error.

    `block_lengths` are the numbers of samples of each process; () is one process that took turns with others.
    """
    if block_lengths:
        return _estimate_from_blocks(y, block_lengths)
    n = len(y)
    if n < FEWEST:
        return MedianEstimate(float(np.median(y)), math.inf)
    fifths = np.array([np.median(part) for part in np.array_split(y, FIFTHS)])
    errors = (_bootstrap_error(y, n // 10), _bootstrap_error(y, n // 5), float(fifths.std(ddof=1)) / math.sqrt(FIFTHS))
    return MedianEstimate(float(np.median(y)), max(errors))


def compare_medians(old: MedianEstimate, new: MedianEstimate, others: float = 0.0) -> MedianRatio:
    """The new median over the old one; `others` is the larger share of the cores that others used during either run."""
    error = math.hypot(old.standard_error, new.standard_error)
    allowance = _allowance(max(BETWEEN_RUNS, others))
    level, power = _quantiles(old.blocks, new.blocks)
    if old.blocks and new.blocks:
        half, unseen = math.hypot(level * error, allowance), math.hypot(power * error, allowance)
    else:
        half, unseen = level * error + allowance, power * error + allowance
    difference = new.log_median - old.log_median
    return MedianRatio(math.exp(difference), _exp(difference - half), _exp(difference + half), _exp(half + unseen))


def _estimate_from_blocks(y: np.ndarray, block_lengths: Sequence[int]) -> MedianEstimate:
    medians = np.array([np.median(part) for part in np.split(y, np.cumsum(block_lengths)[:-1])])
    k = len(medians)
    error = float(medians.std(ddof=1)) / math.sqrt(k) if k >= FEWEST_BLOCKS else math.inf
    return MedianEstimate(float(medians.mean()), error, k)


def _quantiles(old_blocks: int, new_blocks: int) -> tuple[float, float]:
    """The 99 % and 95 % points of the error's distribution: normal without blocks, else Student's, rather too wide."""
    counts = [count for count in (old_blocks, new_blocks) if count]
    if not counts:
        return Z, POWER_Z
    freedom = max(len(counts) * (min(counts) - 1), STUDENT[0][0])
    return next((level, power) for known, level, power in reversed(STUDENT) if known <= freedom)


def _bootstrap_error(y: np.ndarray, length: int) -> float:
    """The standard deviation of the median over samples made of whole blocks, which may run over the end."""
    n = len(y)
    starts = np.random.default_rng(SEED).integers(0, n, (RESAMPLES, -(-n // length)))
    places = (starts[:, :, None] + np.arange(length)).reshape(RESAMPLES, -1)[:, :n] % n
    return float(np.median(y[places], axis=1).std(ddof=1))


def _allowance(share: float) -> float:
    return -math.log1p(-share) if share < 1 else math.inf


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
