"""Waiting for a runtime's threads to stop spinning, and what others did on the machine meanwhile.

After a parallel run the workers of OpenMP, ONNX Runtime and XNNPACK spin on their cores for some milliseconds, in the
hope of more work; whatever runs next in that time shares the cores with them. They are not asked to behave otherwise,
since that would time something that no user runs: the next subject waits until this process uses no processor time.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

STEP_S = 0.002
LIMIT_S = 0.5
IDLE_SHARE = 0.1
"""A process that used less than this share of one core in a step is idle."""
QUIET_STEPS = 3
"""In a row: on a busy machine a thread that spins may miss one."""

BUSY_CORES = 0.1
"""Others' load from which a reader should doubt the milliseconds."""
STAT = Path("/proc/stat")
USER, NICE, SYSTEM, IRQ, SOFTIRQ, STEAL = 0, 1, 2, 5, 6, 7
"""Columns of the line "cpu"."""


def wait_until_idle(limit_s: float = LIMIT_S) -> bool:
    """Sleep until this process uses no processor time; False where it still did after `limit_s`."""
    end, quiet = time.monotonic() + limit_s, 0
    while quiet < QUIET_STEPS:
        if time.monotonic() > end:
            return False
        used, started = time.process_time_ns(), time.perf_counter_ns()
        time.sleep(STEP_S)
        idle = time.process_time_ns() - used < IDLE_SHARE * (time.perf_counter_ns() - started)
        quiet = quiet + 1 if idle else 0
    return True


@dataclass(frozen=True)
class OthersLoad:
    """Cores that other processes kept busy, and cores that a hypervisor took, on average."""

    busy_cores: float
    stolen_cores: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why a reader should doubt the milliseconds; nothing where the machine was quiet."""
        if self.busy_cores + self.stolen_cores < BUSY_CORES:
            return ()
        return (
            f"the machine was not quiet: others used {self.busy_cores:.2f} cores, {self.stolen_cores:.2f} were stolen; "
            "measure again when it is",
        )


class LoadWatch:
    """Measures what others do on this machine from its creation on; tells nothing where /proc/stat does not."""

    def __init__(self) -> None:
        self._wall, self._own, self._jiffies = time.perf_counter(), time.process_time(), _jiffies()

    def read(self) -> OthersLoad | None:
        """The load since then."""
        wall, jiffies = time.perf_counter() - self._wall, _jiffies()
        if jiffies is None or self._jiffies is None or wall <= 0:
            return None
        second = os.sysconf("SC_CLK_TCK") * wall
        busy, stolen = ((after - before) / second for before, after in zip(self._jiffies, jiffies, strict=True))
        return OthersLoad(max(0.0, busy - (time.process_time() - self._own) / wall), stolen)


def _jiffies() -> tuple[int, int] | None:
    """Ticks that all cores spent working, and ticks that were stolen."""
    try:
        columns = [int(word) for word in STAT.read_text(encoding="ascii").split("\n")[0].split()[1:]]
        return sum(columns[i] for i in (USER, NICE, SYSTEM, IRQ, SOFTIRQ)), columns[STEAL]
    except (OSError, ValueError, IndexError):
        return None
