"""How a measurement on a device is done, and what is checked before it.

A phone is no laboratory: it throttles, moves work between unlike cores, and saves power. So: it must be cool before the
start (Android's thermal status, polled until it is or patience ends), its fast cores are taken where their clocks are
known, each process warms up before its timed runs, several artifacts take turns in blocks so that drift falls on all of
them alike, and what cannot be controlled is said as a warning.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgesr.android_bench.affinity import Affinity, big_cores, mask
from edgesr.android_bench.device_facts import Condition, Core
from edgesr.errors import DeviceError
from edgesr.progress import Progress, silent
from edgesr.runtime.bench import block_runs

COOL_STATUS = 0
"""The thermal status to start from: none."""
HOT_BATTERY_C = 40.0
POLL_S = 5.0
LOW_BATTERY_PERCENT = 20


@dataclass(frozen=True)
class Protocol:
    """What is asked for: runs and warm-ups of each artifact, in how many blocks, on which cores, how patiently."""

    runs: int = 50
    warmups: int = 5
    blocks: int = 5
    threads: int = 1
    affinity: Affinity = Affinity.BIG
    delay_ms: int = 0
    cool_down_s: float = 120.0
    time_limit_s: float = 600.0

    def __post_init__(self) -> None:
        """Refuse what measures nothing."""
        if min(self.runs, self.blocks, self.threads) < 1 or min(self.warmups, self.delay_ms, self.cool_down_s) < 0:
            raise ValueError("runs, blocks and threads must be at least 1, nothing below 0")
        block_runs(self.runs, self.blocks)

    def turns(self, files: int) -> Iterator[tuple[int, int]]:
        """Whose turn it is, by index, and for how many runs: every file in every block.

        Each block starts with another file, since whoever comes first finds the device coolest.
        """
        for block, runs in enumerate(block_runs(self.runs, self.blocks)):
            for offset in range(files):
                yield (block + offset) % files, runs

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "runs": self.runs, "warmups": self.warmups, "blocks": self.blocks, "threads": self.threads,
            "affinity": self.affinity.value, "delay_ms": self.delay_ms, "cool_down_s": self.cool_down_s,
        }  # fmt: skip


@dataclass(frozen=True)
class Start:
    """A device that is ready: its condition, the cores to run on (None: all), how long it cooled, and doubts."""

    condition: Condition
    mask: str | None
    waited_s: float
    warnings: tuple[str, ...]


def prepare(
    read: Callable[[], Condition],
    cores: Sequence[Core],
    protocol: Protocol,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Start:
    """Wait until a device is cool and choose its cores; raises `DeviceError` where it stays hot, or `stop` is set."""
    begun = time.monotonic()
    condition = read()
    while heat := too_hot(condition):
        waited = time.monotonic() - begun
        if waited >= protocol.cool_down_s:
            raise DeviceError(
                f"the device is hot: {heat} after {waited:.0f} s of cooling; let it rest, or raise --cool-down"
            )
        progress("cooling down", int(waited), int(protocol.cool_down_s))
        _rest(min(POLL_S, protocol.cool_down_s - waited), stop)
        condition = read()
    chosen = big_cores(cores, protocol.threads) if protocol.affinity is Affinity.BIG else ()
    warnings = [*_doubts(condition), *_doubts_of_cores(cores, protocol, chosen)]
    return Start(condition, mask(chosen) if chosen else None, time.monotonic() - begun, tuple(warnings))


def _rest(seconds: float, stop: threading.Event | None) -> None:
    if stop is None:
        time.sleep(seconds)
    elif stop.wait(seconds):
        raise DeviceError("interrupted")


def too_hot(condition: Condition) -> str | None:
    """What is hot about a device, None where nothing is."""
    if condition.thermal_status is not None and condition.thermal_status > COOL_STATUS:
        return f"thermal status {condition.heat}"
    celsius = condition.battery.temperature_c
    if celsius is not None and celsius > HOT_BATTERY_C:
        return f"battery at {celsius:.1f} C"
    return None


def warmed(before: Condition, after: Condition) -> str | None:
    """A warning where the device grew hot meanwhile."""
    heat = too_hot(after)
    return None if heat is None else f"the device grew hot while it measured: {heat} (before: {before.heat})"


def _doubts(condition: Condition) -> list[str]:
    found = []
    if condition.thermal_status is None:
        found.append("the device tells no thermal status: throttling shows in the samples alone")
    level = condition.battery.level_percent
    if level is not None and level < LOW_BATTERY_PERCENT and not condition.battery.plugged:
        found.append(f"the battery is at {level} %: many phones slow down below {LOW_BATTERY_PERCENT} %")
    return found


def _doubts_of_cores(cores: Sequence[Core], protocol: Protocol, chosen: Sequence[int]) -> list[str]:
    unknown = not cores or any(core.max_khz is None for core in cores)
    if protocol.affinity is Affinity.BIG and not chosen and unknown:
        return ["the device tells no clocks: the scheduler chooses the cores"]
    return []
