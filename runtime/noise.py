"""How well a run's level is known, and whether two levels differ: the statistics of docs/benchmarking.md.

A record is made in k >= 4 blocks, each a process: where the system put its memory, its code and its threads, and which
clock its core had, are drawn again with each, and its samples share them. So the blocks are the independent
observations, and nothing is learned of this from a single process, however many runs it makes. What else a machine does
only ever adds to a latency, so a block's level is its lower quartile, in logarithms (of the minimum and low quantiles:
Chen and Revels, Robust benchmarking in noisy environments, 2016). With m_i the level of block i, or its level less that
of a yardstick in the same block:

    M = mean(m_1..m_k),      s = sd(m_1..m_k) / sqrt(k)

Two runs differ by d = M' - M. With S = sqrt(s^2 + s'^2) and b = -log(1 - max(1 %, u, u')), they are called different
where

    |d| > sqrt((t S)^2 + b^2)

t is the point that Student's t with 2 min(k - 1, k' - 1) degrees of freedom exceeds with a probability of 1 %: two
records of the same are called different in 2 of 100. b is what all processes of a record share (the state of the
machine that day); a change below 1 % is never called. u is the share of the machine's cores that others used or a
hypervisor took during a run, where that was measured: where a share u is gone, a run may take 1 / (1 - u) as long, one
subject more than another. A change of sqrt((t S)^2 + b^2) + sqrt((p S)^2 + b^2) is called with a probability of nearly
95 %, where p is Student's 95 % point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOW = 0.25
BETWEEN_RUNS = 0.01
FEWEST_BLOCKS = 4
"""Fewer processes tell nothing about what differs between processes."""
STUDENT: tuple[tuple[int, float, float], ...] = (
    (3, 4.541, 2.353), (4, 3.747, 2.132), (5, 3.365, 2.015), (6, 3.143, 1.943), (8, 2.896, 1.860), (10, 2.764, 1.812),
    (12, 2.681, 1.782), (14, 2.624, 1.761), (16, 2.583, 1.746), (18, 2.552, 1.734), (20, 2.528, 1.725),
    (30, 2.457, 1.697), (60, 2.390, 1.671),
)  # fmt: skip
"""Degrees of freedom, and the points that Student's t exceeds with a probability of 1 % and of 5 %."""


@dataclass(frozen=True)
class LevelEstimate:
    """A run's level in logarithms, and its standard error over the blocks; infinite where they are too few."""

    log_level: float
    standard_error: float
    blocks: int


@dataclass(frozen=True)
class LevelRatio:
    """The ratio of two levels, new over old, its 98 % interval, and the smallest ratio that 95 % would have seen."""

    ratio: float
    low: float
    high: float
    smallest: float

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out 1."""
        return not self.low <= 1 <= self.high


def block_levels(y: np.ndarray, block_lengths: Sequence[int] = ()) -> np.ndarray:
    """The lower quartile of each block of samples in logarithms, in the order they were taken.

    `block_lengths` are the numbers of samples of each process; () is one process.
    """
    parts = np.split(y, np.cumsum(block_lengths or (len(y),))[:-1])
    return np.array([np.quantile(part, LOW) for part in parts])


def estimate_level(levels: np.ndarray) -> LevelEstimate:
    """The mean of blocks' levels and its standard error."""
    k = len(levels)
    error = float(levels.std(ddof=1)) / math.sqrt(k) if k >= FEWEST_BLOCKS else math.inf
    return LevelEstimate(float(levels.mean()), error, k)


def compare_levels(old: LevelEstimate, new: LevelEstimate, others: float = 0.0) -> LevelRatio:
    """The new level over the old one; `others` is the larger share of the cores that others used during either run."""
    error = math.hypot(old.standard_error, new.standard_error)
    allowance = _allowance(max(BETWEEN_RUNS, others))
    level, power = _quantiles(min(old.blocks, new.blocks))
    half, unseen = math.hypot(level * error, allowance), math.hypot(power * error, allowance)
    difference = new.log_level - old.log_level
    return LevelRatio(math.exp(difference), _exp(difference - half), _exp(difference + half), _exp(half + unseen))


def _quantiles(blocks: int) -> tuple[float, float]:
    """The 99 % and 95 % points of Student's t for two records of so many blocks; between the table's, the wider."""
    freedom = max(2 * (blocks - 1), STUDENT[0][0])
    return next((level, power) for known, level, power in reversed(STUDENT) if known <= freedom)


def _allowance(share: float) -> float:
    return -math.log1p(-share) if share < 1 else math.inf


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
