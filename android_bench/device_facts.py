"""What a device is and how it fares: SoC, ABI, Android, cores, memory, heat, battery. Each fact is optional.

Devices differ in what they tell, and every manufacturer forbids something else: a command that fails or prints what
nobody expected leaves its facts unknown, never wrong. Only a lost device raises.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgesr.android_bench.shell import Shell
from edgesr.qualcomm import SOCS

CPU_FOLDER = "/sys/devices/system/cpu"
PROPERTIES: Mapping[str, tuple[str, ...]] = {
    "manufacturer": ("ro.product.manufacturer",),
    "model": ("ro.product.model",),
    "soc_maker": ("ro.soc.manufacturer",),
    "soc": ("ro.soc.model", "ro.board.platform", "ro.hardware"),
    "android": ("ro.build.version.release",),
    "sdk": ("ro.build.version.sdk",),
    "fingerprint": ("ro.build.fingerprint",),
    "serial": ("ro.serialno", "ro.boot.serialno"),
}
"""The properties that tell each fact, best first."""
EMULATOR_PROPERTIES = ("ro.kernel.qemu", "ro.boot.qemu")
EMULATED_SOCS = ("qemu", "ranchu", "goldfish")
"""What emulators call their SoC: qemu-user here, Android's own."""
THERMAL_STATUSES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Android's thermal statuses (PowerManager.THERMAL_STATUS_*), by number."""


@dataclass(frozen=True)
class Core:
    """A processor core: its number and its highest clock, None where the kernel does not tell."""

    number: int
    max_khz: int | None


@dataclass(frozen=True)
class Battery:
    """What `dumpsys battery` says. The charge counter is in microampere hours, as the device counts it."""

    level_percent: int | None = None
    temperature_c: float | None = None
    voltage_mv: int | None = None
    charge_uah: int | None = None
    plugged: bool | None = None


@dataclass(frozen=True)
class Condition:
    """What changes during a measurement: heat and battery."""

    thermal_status: int | None
    temperatures_c: Mapping[str, float]
    battery: Battery

    @property
    def heat(self) -> str:
        """The thermal status in words."""
        if self.thermal_status is None:
            return "unknown"
        name = THERMAL_STATUSES[self.thermal_status] if self.thermal_status < len(THERMAL_STATUSES) else "beyond all"
        return f"{self.thermal_status} ({name})"

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "thermal_status": self.thermal_status,
            "temperatures_c": dict(self.temperatures_c),
            "battery": dataclasses.asdict(self.battery),
        }


@dataclass(frozen=True)
class DeviceFacts:
    """What does not change during a measurement."""

    manufacturer: str | None = None
    model: str | None = None
    soc_maker: str | None = None
    soc: str | None = None
    android: str | None = None
    sdk: str | None = None
    fingerprint: str | None = None
    abis: tuple[str, ...] = ()
    cores: tuple[Core, ...] = ()
    memory_bytes: int | None = None
    available_bytes: int | None = None
    serial: str | None = None
    emulator: bool = False

    @property
    def identity(self) -> str | None:
        """Which device it is, however it is attached: the fingerprint of its build, and its own serial number."""
        known = [part for part in (self.fingerprint, self.serial) if part]
        return " ".join(known) or None

    @property
    def title(self) -> str:
        """One line for people."""
        who = " ".join(part for part in (self.manufacturer, self.model) if part) or "unknown device"
        return f"{who}, {describe_soc(self.soc) if self.soc else 'unknown SoC'}"

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return dataclasses.asdict(self) | {
            "abis": list(self.abis),
            "cores": [dataclasses.asdict(c) for c in self.cores],
        }


def read_facts(shell: Shell) -> DeviceFacts:
    """Ask a device what it is."""
    properties = parse_properties(_output(shell, "getprop"))
    found = {fact: next((properties[key] for key in keys if properties.get(key)), None)
             for fact, keys in PROPERTIES.items()}  # fmt: skip
    memory = parse_memory(_output(shell, "cat", "/proc/meminfo"))
    abis = properties.get("ro.product.cpu.abilist") or properties.get("ro.product.cpu.abi") or ""
    return DeviceFacts(
        **found,
        abis=tuple(abi for abi in abis.split(",") if abi),
        cores=_read_cores(shell),
        memory_bytes=memory.get("MemTotal"),
        available_bytes=memory.get("MemAvailable"),
        emulator=any(properties.get(key) == "1" for key in EMULATOR_PROPERTIES)
        or (found["soc"] or "").lower().startswith(EMULATED_SOCS),
    )


def read_condition(shell: Shell) -> Condition:
    """Ask a device how hot it is and what its battery holds."""
    status, temperatures = parse_thermal(_output(shell, "dumpsys", "thermalservice"))
    return Condition(status, temperatures, parse_battery(_output(shell, "dumpsys", "battery")))


def describe_soc(soc: str) -> str:
    """The SoC with its marketing name. Retail phones extend the part number (SM8750P): matched by prefix, and said."""
    known = next((entry for entry in SOCS if soc.upper().startswith(entry.part)), None)
    if known is None:
        return soc
    return f"{soc} ({known.name})" if soc.upper() == known.part else f"{soc} (taken for {known.part}, {known.name})"


def parse_properties(text: str) -> dict[str, str]:
    """`getprop`: lines of [key]: [value]."""
    return dict(re.findall(r"^\[([^\]]+)\]: \[([^\]]*)\]\r?$", text, re.MULTILINE))


def parse_memory(text: str) -> dict[str, int]:
    """/proc/meminfo in bytes."""
    return {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}


def parse_thermal(text: str) -> tuple[int | None, dict[str, float]]:
    """`dumpsys thermalservice`: the status, and the temperatures in Celsius of its HAL (or its cache) by name."""
    status = re.search(r"Thermal Status: (\d+)", text)
    readings = re.findall(r"Temperature\{mValue=(-?[\d.]+), mType=-?\d+, mName=([^,}]+)", text)
    return int(status[1]) if status else None, {name: float(value) for value, name in readings}


def parse_battery(text: str) -> Battery:
    """`dumpsys battery`: level, tenths of a degree, millivolts, the charge counter, and what it is plugged into."""
    fields = dict(re.findall(r"^\s*([\w ]+): (\S+)\s*$", text, re.MULTILINE))
    powered = [fields[key] == "true" for key in fields if key.endswith("powered")]
    tenths = _number(fields.get("temperature"))
    return Battery(
        level_percent=_number(fields.get("level")),
        temperature_c=None if tenths is None else tenths / 10,
        voltage_mv=_number(fields.get("voltage")),
        charge_uah=_number(fields.get("Charge counter")),
        plugged=any(powered) if powered else None,
    )


def parse_clocks(text: str) -> dict[int, int]:
    """`grep -H . .../cpu*/cpufreq/cpuinfo_max_freq`: the highest clock in kHz by core."""
    lines = re.findall(r"/cpu(\d+)/cpufreq/cpuinfo_max_freq:(\d+)\s*$", text, re.MULTILINE)
    return {int(core): int(khz) for core, khz in lines}


def parse_core_range(text: str) -> tuple[int, ...]:
    """A kernel list of cores such as `0-3,5`."""
    cores: list[int] = []
    for part in text.strip().split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match:
            cores += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(cores)


def _read_cores(shell: Shell) -> tuple[Core, ...]:
    numbers = parse_core_range(_output(shell, "cat", f"{CPU_FOLDER}/present"))
    paths = [f"{CPU_FOLDER}/cpu{number}/cpufreq/cpuinfo_max_freq" for number in numbers]
    clocks = parse_clocks(_output(shell, "grep", "-sH", ".", *paths, accept_failure=True)) if paths else {}
    return tuple(Core(number, clocks.get(number)) for number in numbers)


def _output(shell: Shell, *arguments: str, accept_failure: bool = False) -> str:
    """What a command prints, nothing where it fails. grep fails where one of its files is missing."""
    done = shell.run(arguments)
    return done.stdout if done.succeeded or accept_failure else ""


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None
