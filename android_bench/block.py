"""One block: what a single process of a runner measured on the device."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Summary:
    """What benchmark_model prints instead of its runs: how many there were and their statistics, in milliseconds."""

    count: int
    mean_ms: float
    min_ms: float | None = None
    max_ms: float | None = None
    std_ms: float | None = None
    median_ms: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no clock measures."""
        if self.count < 1 or not 0 < self.mean_ms < float("inf"):
            raise ValueError(f"{self.count} runs of {self.mean_ms} ms")


@dataclass(frozen=True)
class Placement:
    """What the runtime said about where operators ran: words for people, and whether any of them are on the CPU.

    `left_to_cpu` is None where the runtime said nothing about it.
    """

    words: str
    left_to_cpu: bool | None = None


@dataclass(frozen=True)
class Block:
    """Samples in milliseconds, in order; or, from a runner that keeps none, one sample, the mean, and its summary.

    `problem` says why a block ended early; its samples up to there are true.
    """

    latencies_ms: tuple[float, ...]
    warmups: int
    init_ms: float | None = None
    peak_memory_bytes: int | None = None
    placement: Placement | None = None
    summary: Summary | None = None
    problem: str | None = None
    warnings: tuple[str, ...] = field(default=())
