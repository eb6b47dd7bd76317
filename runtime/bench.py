"""Latency on this machine: interleaved runs, raw samples kept, warnings about the measurement itself.

Subjects take turns, one run each, so that what else the machine does falls on all of them alike; ratios to the first
subject are therefore steadier than milliseconds.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgesr.progress import Progress, silent

FEW_RUNS = 20
WIDE_SPREAD = 1.25
THROTTLED = 1.10


@dataclass(frozen=True)
class Subject:
    """What is timed: a name, the runtime, and a call that runs it once on its prepared input."""

    name: str
    runner: str
    invoke: Callable[[], object]


@dataclass(frozen=True)
class Benchmark:
    """One subject's samples in milliseconds, in the order they were taken, without the warm-ups."""

    name: str
    runner: str
    latencies_ms: tuple[float, ...]
    warmups: int

    @property
    def median_ms(self) -> float:
        """The median."""
        return statistics.median(self.latencies_ms)

    @property
    def p90_ms(self) -> float:
        """The 90th percentile by nearest rank: the smallest sample that 90 % of all do not exceed."""
        rank = -(-9 * len(self.latencies_ms) // 10)
        return sorted(self.latencies_ms)[rank - 1]

    @property
    def min_ms(self) -> float:
        """The fastest run."""
        return min(self.latencies_ms)

    def warnings(self) -> list[str]:
        """What a reader should doubt."""
        found: list[str] = []
        n = len(self.latencies_ms)
        if n < FEW_RUNS:
            found.append(f"{self.name}: only {n} runs, {FEW_RUNS} or more give a steadier median")
        if self.p90_ms > WIDE_SPREAD * self.median_ms:
            found.append(f"{self.name}: wide spread, p90 is {self.p90_ms / self.median_ms:.2f} x the median")
        third = n // 3
        if third >= 3:
            first, last = (statistics.median(part) for part in (self.latencies_ms[:third], self.latencies_ms[-third:]))
            if last > THROTTLED * first:
                found.append(f"{self.name}: the last third ran {last / first:.2f} x as long as the first (throttling?)")
        return found

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "name": self.name,
            "runner": self.runner,
            "median_ms": self.median_ms,
            "p90_ms": self.p90_ms,
            "min_ms": self.min_ms,
            "n": len(self.latencies_ms),
            "warmups": self.warmups,
            "latencies_ms": list(self.latencies_ms),
        }


def run_interleaved(
    subjects: Sequence[Subject], runs: int, warmups: int, progress: Progress = silent
) -> list[Benchmark]:
    """Time every subject `runs` times after `warmups` untimed runs, taking turns."""
    if runs < 1 or warmups < 0:
        raise ValueError(f"{runs} runs after {warmups} warm-ups: at least one run is needed")
    samples: list[list[float]] = [[] for _ in subjects]
    for turn in range(warmups + runs):
        progress("benchmark", turn, warmups + runs)
        for subject, taken in zip(subjects, samples, strict=True):
            start = time.perf_counter_ns()
            subject.invoke()
            if turn >= warmups:
                taken.append((time.perf_counter_ns() - start) / 1e6)
    progress("benchmark", warmups + runs, warmups + runs)
    return [
        Benchmark(subject.name, subject.runner, tuple(taken), warmups)
        for subject, taken in zip(subjects, samples, strict=True)
    ]


def environment() -> Mapping[str, object]:
    """The machine that was measured on."""
    return {
        "system": platform.platform(),
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
    }


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123  # a device file, not a path of ours
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor()
