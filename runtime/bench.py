"""Latency: samples kept raw, subjects interleaved, warnings about the measurement itself.

Subjects take turns, one run each, so that what else the machine does falls on all of them alike; ratios between them
are therefore steadier than milliseconds. The order within a turn changes from turn to turn by Williams' design (1949):
each subject runs after each other one equally often, so that what one leaves behind (caches, heat, threads that still
spin) is no advantage or burden of a single other.

Runtimes leave threads that spin for a while after a parallel run, on the cores that the next subject needs. A subject
with a `settle` call waits before its run, untimed.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgesr.progress import Progress, silent
from edgesr.runtime.json_fields import Fields
from edgesr.runtime.output_parity import OutputParity

FEW_RUNS = 50
WIDE_SPREAD = 1.25
THROTTLED = 1.10
PACKAGES = ("edgesr", "torch", "ai-edge-litert", "onnxruntime")
"""Whose versions a latency may depend on."""


@dataclass(frozen=True)
class Subject:
    """What is timed: a name, the runtime, and a call that runs it once on its prepared input.

    `settle` is called before each run and not timed. `measure` runs it once and gives the milliseconds where a clock
    other than this machine's tells them.
    """

    name: str
    runner: str
    invoke: Callable[[], object]
    settle: Callable[[], object] | None = None
    measure: Callable[[], float] | None = None

    def run_ms(self) -> float:
        """Run it once: how long that took."""
        if self.measure is not None:
            return self.measure()
        start = time.perf_counter_ns()
        self.invoke()
        return (time.perf_counter_ns() - start) / 1e6


@dataclass(frozen=True)
class Benchmark:
    """One subject's samples in milliseconds, in the order they were taken, without the warm-ups.

    `block_lengths` splits them into the blocks between which other subjects had their turn; () is one block, or a turn
    for each run. `init_ms` is what loading and preparing took, once. `sha256` is of the file that ran, `parity` of the
    timed run's own output. `placement` is what the runtime says ran where. `problem` says why samples are missing;
    None where all were taken. `threads` is None where the record's number holds. Where a program prints no single runs,
    each sample is the mean of several: `runs_per_sample` says of how many; () is one run each. `moved_bytes` is what
    one run reads and writes, and `floor_ms` what that takes at the memory's speed, where both are known.
    """

    name: str
    runner: str
    latencies_ms: tuple[float, ...]
    warmups: int
    block_lengths: tuple[int, ...] = ()
    init_ms: float | None = None
    peak_memory_bytes: int | None = None
    sha256: str | None = None
    parity: OutputParity | None = None
    placement: str | None = None
    energy_mj: float | None = None
    problem: str | None = None
    threads: int | None = None
    runs_per_sample: tuple[int, ...] = ()
    moved_bytes: int | None = None
    floor_ms: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no measurement gives."""
        if not self.latencies_ms or not all(0 < ms < math.inf for ms in self.latencies_ms):
            raise ValueError(f"{self.name}: no sample was taken, or one is no positive number of milliseconds")
        if self.block_lengths and (min(self.block_lengths) < 1 or sum(self.block_lengths) != len(self.latencies_ms)):
            raise ValueError(
                f"{self.name}: blocks of {self.block_lengths} do not hold {len(self.latencies_ms)} samples"
            )
        if self.runs_per_sample and (
            len(self.runs_per_sample) != len(self.latencies_ms) or min(self.runs_per_sample) < 1
        ):
            raise ValueError(f"{self.name}: {self.runs_per_sample} runs are no {len(self.latencies_ms)} samples")
        if self.warmups < 0 or (self.threads is not None and self.threads < 1):
            raise ValueError(f"{self.name}: {self.warmups} warm-ups in {self.threads} threads")

    @property
    def runs(self) -> int:
        """How many runs were timed."""
        return sum(self.runs_per_sample) or len(self.latencies_ms)

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

    @property
    def slowdown(self) -> float | None:
        """The median of the last third over that of the first; None where a third is under three samples."""
        third = len(self.latencies_ms) // 3
        if third < 3:
            return None
        return statistics.median(self.latencies_ms[-third:]) / statistics.median(self.latencies_ms[:third])

    @property
    def label(self) -> str:
        """The name, with the threads where they are more than one."""
        return f"{self.name} ({self.threads} threads)" if self.threads is not None and self.threads > 1 else self.name

    def warnings(self) -> list[str]:
        """What a reader should doubt."""
        found = [] if self.problem is None else [f"{self.label}: partial, {self.problem}"]
        if self.runs_per_sample:
            found.append(f"{self.label}: no single runs are known, but {len(self.latencies_ms)} means of some")
        if self.runs < FEW_RUNS:
            found.append(f"{self.label}: only {self.runs} runs, {FEW_RUNS} or more give a steadier median")
        if self.p90_ms > WIDE_SPREAD * self.median_ms:
            found.append(f"{self.label}: wide spread, p90 is {self.p90_ms / self.median_ms:.2f} x the median")
        if self.slowdown is not None and self.slowdown > THROTTLED:
            found.append(f"{self.label}: the last third ran {self.slowdown:.2f} x as long as the first (throttling?)")
        return found

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "name": self.name,
            "runner": self.runner,
            "threads": self.threads,
            "median_ms": self.median_ms,
            "p90_ms": self.p90_ms,
            "min_ms": self.min_ms,
            "n": self.runs,
            "warmups": self.warmups,
            "init_ms": self.init_ms,
            "peak_memory_bytes": self.peak_memory_bytes,
            "energy_mj": self.energy_mj,
            "placement": self.placement,
            "moved_bytes": self.moved_bytes,
            "floor_ms": self.floor_ms,
            "sha256": self.sha256,
            "parity": None if self.parity is None else self.parity.to_json(),
            "problem": self.problem,
            "block_lengths": list(self.block_lengths),
            "runs_per_sample": list(self.runs_per_sample),
            "latencies_ms": list(self.latencies_ms),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Benchmark:
        """What `to_json` wrote; raises `FieldError`. The statistics are computed again from the samples."""
        return cls(
            name=fields.text("name"),
            runner=fields.text("runner"),
            latencies_ms=fields.numbers("latencies_ms"),
            warmups=fields.integer("warmups"),
            block_lengths=fields.integers("block_lengths", 1),
            runs_per_sample=fields.integers("runs_per_sample", 1) if "runs_per_sample" in fields else (),
            init_ms=fields.optional_number("init_ms"),
            peak_memory_bytes=fields.optional_integer("peak_memory_bytes"),
            sha256=fields.optional_text("sha256"),
            parity=OutputParity.from_json(fields.child("parity")) if "parity" in fields else None,
            placement=fields.optional_text("placement"),
            energy_mj=fields.optional_number("energy_mj"),
            problem=fields.optional_text("problem"),
            threads=fields.optional_integer("threads", 1),
            moved_bytes=fields.optional_integer("moved_bytes"),
            floor_ms=fields.optional_number("floor_ms"),
        )


def run_interleaved(
    subjects: Sequence[Subject], runs: int, warmups: int, progress: Progress = silent, first_turn: int = 0
) -> list[Benchmark]:
    """Time every subject `runs` times after `warmups` untimed runs, taking turns; `first_turn` is in which order first.

    Raises ValueError where nothing would be timed.
    """
    if runs < 1 or warmups < 0:
        raise ValueError(f"{runs} runs after {warmups} warm-ups: at least one run is needed")
    samples: list[list[float]] = [[] for _ in subjects]
    orders = turn_orders(len(subjects))
    for turn in range(warmups + runs):
        progress("benchmark", turn, warmups + runs)
        for index in orders[(first_turn + turn) % len(orders)]:
            subject = subjects[index]
            if subject.settle is not None:
                subject.settle()
            ms = subject.run_ms()
            if turn >= warmups:
                samples[index].append(ms)
    progress("benchmark", warmups + runs, warmups + runs)
    return [
        Benchmark(subject.name, subject.runner, tuple(taken), warmups)
        for subject, taken in zip(subjects, samples, strict=True)
    ]


def block_runs(runs: int, blocks: int) -> tuple[int, ...]:
    """How many runs each block has: as equal as can be; raises ValueError where they do not fill the blocks."""
    if not 1 <= blocks <= runs:
        raise ValueError(f"{runs} runs do not fill {blocks} blocks")
    share, more = divmod(runs, blocks)
    return tuple(share + (index < more) for index in range(blocks))


def turn_orders(count: int) -> list[tuple[int, ...]]:
    """Orders of `count` subjects, in which each directly follows each other one equally often, and starts as often.

    Williams' design: 0, 1, n-1, 2, n-2, ... with every number advanced by 1 from row to row; for an odd count also each
    row backwards.
    """
    zigzag = [(i + 1) // 2 if i % 2 else (count - i // 2) % count for i in range(count)]
    rows = [tuple((index + row) % count for index in zigzag) for row in range(max(count, 1))]
    return rows if count % 2 == 0 or count == 1 else [order for row in rows for order in (row, row[::-1])]


def environment() -> Mapping[str, object]:
    """The machine that was measured on."""
    return {
        "system": platform.platform(),
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123  # a device file, not a path of ours
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor()
