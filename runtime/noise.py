"""How well a run's level is known, and whether two levels differ: the statistics of docs/benchmarking.md.

A record is made in k >= 4 blocks, each a process: where the system put its memory, its code and its threads, and which
clock its core had, are drawn again with each, and its samples share them. So the blocks are the independent
observations, and nothing is learned of this from a single process, however many runs it makes. What else a machine does
only ever adds to a latency, so a block's level is its lower quartile, in logarithms (of the minimum and low quantiles:
Chen and Revels, Robust benchmarking in noisy environments, 2016).

For the same reason blocks that the machine disturbed are left out: a neighbour on the same physical core slows whole
blocks by a tenth to a half, one subject more than another. With l_ij the level of subject j in block i, a block's
disturbance is median_j(l_ij - median_i l_ij) over all subjects that took turns in it, so that no one subject's own luck
decides; kept are the blocks within 3 % of the lower quartile of disturbances, 4 at least. With m_i the level
of kept block i, or its level less that of a yardstick in the same block, and n the number kept:

    M = mean(m_1..m_n),      s = sd(m_1..m_n) / sqrt(n)

Two runs differ by d = M' - M. With S = sqrt(s^2 + s'^2) and b = -log(1 - max(f, u, u')), they are called different
where

    |d| > sqrt((t S)^2 + b^2)

t is the point that Student's t with 2 min(n - 1, n' - 1) degrees of freedom exceeds with a probability of 1 %: two
records of the same are called different in 2 of 100. b is what all processes of a record share and no statistics within
it can show: f is 2 % beside a yardstick, and 10 % for milliseconds alone, which follow the clock that the machine had
that day. u is the share of the machine's cores that others used or a hypervisor took during a run, where that was
measured: where a share u is gone, a run may take 1 / (1 - u) as long, one subject more than another. A change of
sqrt((t S)^2 + b^2) + sqrt((p S)^2 + b^2) is called with a probability of nearly 95 %, where p is Student's 95 % point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOW = 0.25
BESIDE_A_YARDSTICK, MILLISECONDS_ALONE = 0.02, 0.10
"""By how much two records of the same may differ as a whole (docs/adr/0011)."""
DISTURBED = 0.03
FEWEST_BLOCKS = 4
"""Fewer processes tell nothing about what differs between processes."""
STUDENT: tuple[tuple[int, float, float], ...] = (
    (3, 4.541, 2.353), (4, 3.747, 2.132), (5, 3.365, 2.015), (6, 3.143, 1.943), (8, 2.896, 1.860), (10, 2.764, 1.812),
    (12, 2.681, 1.782), (14, 2.624, 1.761), (16, 2.583, 1.746), (18, 2.552, 1.734), (20, 2.528, 1.725),
    (30, 2.457, 1.697), (60, 2.390, 1.671),
)  # fmt: skip
"""Degrees of freedom, and the points that Student's t exceeds with a probability of 1 % and of 5 %."""
FEWEST_FREEDOM = STUDENT[0][0]
"""Of fewer nothing is known."""


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
    lengths = np.array(block_lengths or (len(y),))
    starts = np.cumsum(lengths) - lengths
    levels = np.empty(len(lengths))
    for length in np.unique(lengths):  # one or two: a record's samples are shared out evenly
        alike = lengths == length
        levels[alike] = np.quantile(y[starts[alike, None] + np.arange(length)], LOW, axis=1)
    return levels


def least_disturbed(levels: Sequence[np.ndarray]) -> np.ndarray:
    """Which blocks to keep, in order: those in which all subjects together were fastest, `FEWEST_BLOCKS` at least.

    `levels` are the block levels of each subject, (k,) each.
    """
    y = np.stack(levels)
    disturbance = np.median(y - np.median(y, axis=1, keepdims=True), axis=0)
    near = int((disturbance <= np.quantile(disturbance, LOW) + DISTURBED).sum())
    return np.sort(np.argsort(disturbance, kind="stable")[: max(FEWEST_BLOCKS, near)])


def estimate_level(levels: np.ndarray) -> LevelEstimate:
    """The mean of blocks' levels and its standard error."""
    k = len(levels)
    error = float(levels.std(ddof=1)) / math.sqrt(k) if k >= FEWEST_BLOCKS else math.inf
    return LevelEstimate(float(levels.mean()), error, k)


def compare_levels(old: LevelEstimate, new: LevelEstimate, floor: float, others: float = 0.0) -> LevelRatio:
    """The new level over the old one.

    `floor` is what two records of the same may differ by as a whole, `others` the larger share of the cores that others
    used during either run.
    """
    error = math.hypot(old.standard_error, new.standard_error)
    freedom = 2 * (min(old.blocks, new.blocks) - 1)
    return level_ratio(new.log_level - old.log_level, error, freedom, max(floor, others))


def level_ratio(difference: float, error: float, freedom: int, unknown: float) -> LevelRatio:
    """The ratio for a difference of logarithms with a standard error of so many degrees of freedom.

    `unknown` is the share by which the two may differ as a whole.
    """
    level, power = student_points(freedom)
    allowance = _allowance(unknown)
    half, unseen = math.hypot(level * error, allowance), math.hypot(power * error, allowance)
    return LevelRatio(math.exp(difference), _exp(difference - half), _exp(difference + half), _exp(half + unseen))


def student_points(freedom: int) -> tuple[float, float]:
    """The points that Student's t exceeds with 1 % and 5 %; between the table's degrees of freedom, the wider ones."""
    known = max(freedom, FEWEST_FREEDOM)
    return next((level, power) for degrees, level, power in reversed(STUDENT) if degrees <= known)


def _allowance(share: float) -> float:
    return -math.log1p(-share) if share < 1 else math.inf


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
