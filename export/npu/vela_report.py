"""What Vela estimates for a network, read from the two CSV files that it writes. An estimate, never a measurement.

Vela models an operator's cycles as the most that one of its parts needs: the MAC array, or one of the memories. Cycles
of the whole network are the sum over its layers; a file where they are not is refused. Rows of operators that Vela
fused into others have no cycles.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgesr.errors import ExportError
from edgesr.ethos_u import EthosU

LAYER_COLUMNS = {
    "NPU": "compute", "SRAM AC": "SRAM", "DRAM AC": "DRAM", "OnFlash AC": "flash", "OffFlash AC": "flash",
}  # fmt: skip
"""The columns of cycles that each part needs, and the part."""
BYTES_PER_KIB = 1024


@dataclass(frozen=True)
class LayerEstimate:
    """One operator on the NPU: estimated cycles, what bounds them, and how far its MACs fill the array (0..1).

    `sram_cycles` and `off_chip_cycles` are the cycles that its memory traffic alone would take; Vela gives no bytes for
    single layers. `peak_sram_bytes` is what it needs of the arena with all that is alive beside it.
    """

    name: str
    operator: str
    cycles: int
    milliseconds: float
    macs: int
    utilisation: float
    bound_by: str
    sram_cycles: int
    off_chip_cycles: int
    peak_sram_bytes: int


@dataclass(frozen=True)
class NpuEstimate:
    """A compiler's estimate for one inference: nothing ran anywhere. `left_out` operators on the CPU are not in it."""

    npu: str
    source: str
    setting: str
    clock_mhz: int
    arena_bytes: int
    cycles: int
    macs: int
    sram_traffic_bytes: int
    off_chip_traffic_bytes: int
    peak_sram_bytes: int
    layers: tuple[LayerEstimate, ...]
    left_out: int = 0

    @property
    def milliseconds(self) -> float:
        """Cycles at the configured clock."""
        return self.cycles / self.clock_mhz / 1e3

    @property
    def label(self) -> str:
        """Whose estimate it is and for what: to stand beside every figure of it."""
        without = f", {self.left_out} on the CPU left out" if self.left_out else ""
        return f"estimate by {self.source} for {self.npu} ({self.setting}){without}, no measurement"

    @property
    def busiest(self) -> LayerEstimate:
        """The layer that needs most of the arena."""
        return max(self.layers, key=lambda layer: layer.peak_sram_bytes)

    def as_json(self) -> dict[str, object]:
        """For manifests and --json."""
        return {
            "estimate": True, "label": self.label, "npu": self.npu, "source": self.source,
            "clock_mhz": self.clock_mhz, "arena_bytes": self.arena_bytes, "estimated_cycles": self.cycles,
            "estimated_ms": self.milliseconds, "macs": self.macs, "sram_traffic_bytes": self.sram_traffic_bytes,
            "off_chip_traffic_bytes": self.off_chip_traffic_bytes, "peak_sram_bytes": self.peak_sram_bytes,
            "operators_left_out": self.left_out, "layers": [vars(layer) for layer in self.layers],
        }  # fmt: skip


def read_report(summary: str, layers: str, accelerator: EthosU, arena_bytes: int, source: str) -> NpuEstimate:
    """The estimate in Vela's summary CSV and per-layer CSV.

    Raises `ExportError` where columns are missing, numbers are none, another clock was used or cycles do not add up.
    """
    try:
        estimate = _estimate(summary, layers, accelerator, arena_bytes, source)
    except (KeyError, ValueError, StopIteration, TypeError) as error:
        raise ExportError(f"{source} wrote a report that cannot be read ({error!r})") from error
    total = sum(layer.cycles for layer in estimate.layers)
    if total != estimate.cycles:
        raise ExportError(f"{source} reports {estimate.cycles} cycles and layers that need {total}")
    return estimate


def _estimate(summary: str, layers: str, accelerator: EthosU, arena_bytes: int, source: str) -> NpuEstimate:
    row = next(csv.DictReader(io.StringIO(summary)))
    clock_mhz = accelerator.system.clock_mhz
    if _number(row["core_clock"]) != clock_mhz * 1e6:
        raise ValueError(f"its clock is {row['core_clock']} Hz, not {clock_mhz} MHz")
    rows = _rows(layers)
    off_chip = ("dram_total_bytes", "on_chip_flash_total_bytes", "off_chip_flash_total_bytes")
    return NpuEstimate(
        npu=accelerator.name,
        source=source,
        setting=accelerator.setting,
        clock_mhz=clock_mhz,
        arena_bytes=arena_bytes,
        cycles=int(_number(row["cycles_total"])),
        macs=int(_number(row["nn_macs"])),
        sram_traffic_bytes=int(_number(row["sram_total_bytes"])),
        off_chip_traffic_bytes=sum(int(_number(row[column])) for column in off_chip),
        peak_sram_bytes=int(_number(row["sram_memory_used"]) * BYTES_PER_KIB),
        layers=tuple(_layer(row, clock_mhz) for row in rows if row["Target"] == "NPU"),
        left_out=sum(row["Target"] == "CPU" for row in rows),
    )


def _rows(text: str) -> list[dict[str, str]]:
    """The table of layers. Vela quotes nothing; the name stands last, so that commas in it do no harm."""
    header, *lines = text.splitlines()
    columns = header.split(",")
    return [dict(zip(columns, line.split(",", len(columns) - 1), strict=True)) for line in lines]


def _layer(row: Mapping[str, str], clock_mhz: int) -> LayerEstimate:
    cycles = int(_number(row["Op Cycles"]))
    parts = {column: int(_number(row[column])) for column in LAYER_COLUMNS}
    return LayerEstimate(
        name=row["Name"],
        operator=row["NNG Operator"],
        cycles=cycles,
        milliseconds=cycles / clock_mhz / 1e3,
        macs=int(_number(row["MAC Count"])),
        utilisation=_number(row["Util% (MAC)"]) / 100 if cycles else 0.0,
        bound_by=LAYER_COLUMNS[max(parts, key=lambda column: parts[column])] if cycles else "fused",
        sram_cycles=parts["SRAM AC"],
        off_chip_cycles=parts["DRAM AC"] + parts["OnFlash AC"] + parts["OffFlash AC"],
        peak_sram_bytes=int(_number(row["Staging Usage"])),
    )


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{text} is no amount")
    return value
