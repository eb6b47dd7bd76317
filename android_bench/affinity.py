"""Which cores a measurement may run on: a phone's scheduler moves work between fast and slow ones in its middle."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from edgesr.android_bench.device_facts import Core


class Affinity(enum.Enum):
    """What is asked for: the fastest cores, or all of them."""

    BIG = "big"
    ALL = "all"


def big_cores(cores: Sequence[Core], threads: int) -> tuple[int, ...]:
    """The cores of the fastest cluster, and of the next ones until there is one for every thread.

    Clusters are told apart by their highest clock. Empty where a clock is unknown, or all cores are equal.
    """
    clocks = {core.number: core.max_khz for core in cores if core.max_khz is not None}
    if len(clocks) < len(cores) or len(set(clocks.values())) < 2:
        return ()
    chosen: list[int] = []
    for clock in sorted(set(clocks.values()), reverse=True):
        chosen += [number for number, khz in clocks.items() if khz == clock]
        if len(chosen) >= threads:
            break
    return tuple(sorted(chosen))


def mask(cores: Sequence[int]) -> str:
    """The cores as taskset's hexadecimal mask, without 0x."""
    return f"{sum(1 << number for number in cores):x}"
