"""Energy by the battery's own charge counter: coarse, of the whole device, and only where the phone is unplugged.

    E = sum over blocks of (charge before - charge after) * voltage

Divided by all runs of these blocks, warm-ups among them; starting and loading is in it too: many runs in few blocks
tell most. The counter (microampere hours) steps by what the fuel gauge resolves, often 1 mAh or more. A figure is
given only where the drop is `MANY_STEPS` steps or more, so that the counter's own step is at most 5 % of it; else the
reason is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgesr.android_bench.device_facts import Battery

MANY_STEPS = 20
MILLIJOULES_PER_UAH_MV = 3.6e-3
"""1 uAh = 3.6 mC; times 1 mV = 3.6 uJ."""


@dataclass(frozen=True)
class Energy:
    """Millijoules per run, or why there is no figure."""

    millijoules: float | None
    reason: str | None = None


def energy_per_run(readings: Sequence[tuple[Battery, Battery]], runs: int) -> Energy:
    """Energy of one of `runs` runs, warm-ups counted, from the battery before and after each block."""
    flat = [battery for pair in readings for battery in pair]
    if not flat or any(battery.charge_uah is None or battery.voltage_mv is None for battery in flat):
        return Energy(None, "the device has no charge counter")
    if any(battery.plugged is not False for battery in flat):
        return Energy(None, "the device is plugged in")
    counters = sorted({battery.charge_uah or 0 for battery in flat})
    steps = [high - low for low, high in pairwise(counters)]
    drops = [(before.charge_uah or 0) - (after.charge_uah or 0) for before, after in readings]
    if not steps or sum(drops) < MANY_STEPS * min(steps):
        return Energy(None, f"the charge counter moved by less than {MANY_STEPS} of its steps; measure more runs")
    spent = sum(drop * ((before.voltage_mv or 0) + (after.voltage_mv or 0)) / 2
                for drop, (before, after) in zip(drops, readings, strict=True))  # fmt: skip
    return Energy(spent * MILLIJOULES_PER_UAH_MV / max(runs, 1))
