"""Arm's Ethos-U accelerators as Vela knows them: one literal table.

An estimate depends on the memories around an NPU as much as on the NPU. Vela's own `vela.ini` (5.2.0) describes some
systems; the clocks and bandwidths here are that file's, word for word. Which system an accelerator stands in is an
assumption, since every chip differs: the fastest memories of the file for its family, because a phone's are faster
still; for the small Ethos-U85 with 128 to 512 MACs Vela's own default, since two DRAM ports belong to the large ones.
Ethos-U55 keeps feature maps in SRAM that it shares with the CPU, as Vela does by default: it has no path to DRAM. The
others keep them in DRAM behind an SRAM of their own, of the size that Vela is told.
"""

from __future__ import annotations

import difflib
import enum
from dataclasses import dataclass

from edgesr.errors import EdgeSRError


class MemoryMode(enum.Enum):
    """Where feature maps live; the value is the name in Vela's `vela.ini`."""

    SHARED_SRAM = "Shared_Sram"
    DEDICATED_SRAM = "Dedicated_Sram"


@dataclass(frozen=True)
class SystemConfig:
    """A system of `vela.ini`: its section's name, the NPU's clock, and the memories as the file words them."""

    name: str
    clock_mhz: int
    memories: str

    def __post_init__(self) -> None:
        """Refuse clocks that stand still."""
        if self.clock_mhz < 1:
            raise ValueError(f"system '{self.name}' has a clock of {self.clock_mhz} MHz")


U55_HIGH_END = SystemConfig("Ethos_U55_High_End_Embedded", 500, "SRAM (4 GB/s) and Flash (0.5 GB/s)")
U65_CLIENT_SERVER = SystemConfig("Ethos_U65_Client_Server", 1000, "SRAM (16 GB/s) and DRAM (12 GB/s)")
U85_DRAM_MID = SystemConfig("Ethos_U85_SYS_DRAM_Mid", 1000, "SRAMx2 (32 GB/s) and DRAM (12 GB/s)")
U85_DRAM_HIGH = SystemConfig("Ethos_U85_SYS_DRAM_High", 1000, "SRAMx4 (64 GB/s) and DRAMx2 (24 GB/s)")


@dataclass(frozen=True)
class EthosU:
    """An accelerator by Vela's name for it (`--accelerator-config`), and what Vela assumes around it."""

    name: str
    system: SystemConfig
    memory_mode: MemoryMode

    @property
    def macs_per_cycle(self) -> int:
        """Its multiply-accumulates a cycle, which its name ends with."""
        return int(self.name.rpartition("-")[2])

    @property
    def family(self) -> str:
        """Its name without the number of MACs: what decides on operators."""
        return self.name.rpartition("-")[0]

    @property
    def setting(self) -> str:
        """The system that an estimate is about, in a few words."""
        return f"{self.system.name}, {self.memory_mode.value}, {self.system.clock_mhz} MHz, {self.system.memories}"


ETHOS_U: tuple[EthosU, ...] = (
    EthosU("ethos-u55-32", U55_HIGH_END, MemoryMode.SHARED_SRAM),
    EthosU("ethos-u55-64", U55_HIGH_END, MemoryMode.SHARED_SRAM),
    EthosU("ethos-u55-128", U55_HIGH_END, MemoryMode.SHARED_SRAM),
    EthosU("ethos-u55-256", U55_HIGH_END, MemoryMode.SHARED_SRAM),
    EthosU("ethos-u65-256", U65_CLIENT_SERVER, MemoryMode.DEDICATED_SRAM),
    EthosU("ethos-u65-512", U65_CLIENT_SERVER, MemoryMode.DEDICATED_SRAM),
    EthosU("ethos-u85-128", U85_DRAM_MID, MemoryMode.DEDICATED_SRAM),
    EthosU("ethos-u85-256", U85_DRAM_MID, MemoryMode.DEDICATED_SRAM),
    EthosU("ethos-u85-512", U85_DRAM_MID, MemoryMode.DEDICATED_SRAM),
    EthosU("ethos-u85-1024", U85_DRAM_HIGH, MemoryMode.DEDICATED_SRAM),
    EthosU("ethos-u85-2048", U85_DRAM_HIGH, MemoryMode.DEDICATED_SRAM),
)


def find_ethos_u(name: str) -> EthosU:
    """The accelerator of that name in any case; raises `EdgeSRError` where there is none, naming those most like it."""
    for accelerator in ETHOS_U:
        if accelerator.name == name.lower():
            return accelerator
    names = [accelerator.name for accelerator in ETHOS_U]
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    raise EdgeSRError(f"no Ethos-U accelerator is called '{name}'; choose {' or '.join(near) or ', '.join(names)}")
