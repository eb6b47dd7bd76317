"""How well a run's median is known, and whether two medians differ: the statistics of docs/benchmarking.md.

Samples y_1..y_n are logarithms of latencies, or of latencies over those of a yardstick in the same turn. They are not
independent: a clock that changes, a neighbour on the machine or heat moves many in a row. The median's standard error
is the largest of three estimates, each blind to something that another sees:

    s = max(boot(n/10), boot(n/5), fifths)

boot(l) is the standard deviation of the median over circular block bootstrap samples of blocks of l (Politis and Romano
1992): within blocks the order stays, so short disturbances count as what they are. fifths is sd(m_1..m_5) / sqrt(5)
over the medians of five consecutive parts: an allowance for drift over the whole run, which no short block shows.

Two runs with medians M and M' differ by d = M' - M. With S = sqrt(s^2 + s'^2), they are called different where

    |d| > z S + b,        z = 2.33 (98 %, two-sided),   b = -log(1 - max(1 %, u, u'))

b is what no single process can show of itself: where the system put its memory, which clock its core had. A change
below 1 % is therefore never called. u is the share of the machine's cores that others used or a hypervisor took during
a run, where that was measured: where a share u is gone, a run may take 1 / (1 - u) as long, one subject more than
another. As b may hide as much of a true change as it may feign, a change of z S + 2 b + 1.645 S is called with a
probability of 95 %.
"""

from __future__ import annotations

import math
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


@dataclass(frozen=True)
class MedianEstimate:
    """A run's median in logarithms, and its standard error; infinite where samples are too few."""

    log_median: float
    standard_error: float


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


def estimate_median(y: np.ndarray) -> MedianEstimate:
    """The median of samples in logarithms, in the order they were taken, and its standard error."""
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
    difference, half = new.log_median - old.log_median, Z * error + allowance
    smallest = half + allowance + POWER_Z * error
    return MedianRatio(math.exp(difference), _exp(difference - half), _exp(difference + half), _exp(smallest))


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
