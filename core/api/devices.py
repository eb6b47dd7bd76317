"""What `edgesr bench --device` can use now, and why the rest cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edgesr.android_bench.adb import Adb, Attached, find_adb
from edgesr.android_bench.adb_device import AdbDevice
from edgesr.android_bench.device_facts import read_condition, read_facts
from edgesr.android_bench.emulated.requirements import INSTALL_LINE, missing
from edgesr.errors import EdgeSRError
from edgesr.ethos_u import ETHOS_U
from edgesr.runtime.bench import environment
from edgesr.runtime.cuda.backend import backend_states


@dataclass(frozen=True)
class BenchDevice:
    """A device by its name for `--device`: what it is, what kind of answer it gives, and what keeps it from use."""

    name: str
    description: str
    gives: str
    problem: str | None = None

    @property
    def usable(self) -> bool:
        """Whether it can be used now."""
        return self.problem is None


MEASURED, COUNTED, ESTIMATED = "milliseconds", "instructions, emulated", "estimated cycles"


def list_devices(adb: Path | None = None) -> tuple[BenchDevice, ...]:
    """Every device that is known; phones are asked what they are."""
    return (_host(), *_phones(adb), _emulated(), _cuda(), _ethos_u())


def _host() -> BenchDevice:
    machine = environment()
    return BenchDevice("host", f"{machine['processor']}, {machine['cores']} cores", MEASURED)


def _phones(adb: Path | None) -> tuple[BenchDevice, ...]:
    try:
        client = Adb(find_adb(adb))
        attached = client.attached()
    except EdgeSRError as error:
        return (BenchDevice("adb", "phones over adb", MEASURED, str(error)),)
    if not attached:
        return (BenchDevice("adb", "phones over adb", MEASURED, "none is attached; connect one with USB debugging on"),)
    return tuple(_phone(client, one) for one in attached)


def _phone(client: Adb, attached: Attached) -> BenchDevice:
    name = f"adb:{attached.serial}"
    if not attached.ready:
        what = attached.description or "a device"
        return BenchDevice(name, what, MEASURED, f"{attached.state}; {attached.cure}")
    device = AdbDevice(client, attached.serial)
    try:
        facts, condition = read_facts(device), read_condition(device)
    except EdgeSRError as error:
        return BenchDevice(name, attached.description, MEASURED, str(error))
    release = f"Android {facts.android}" if facts.android else "unknown Android"
    emulator = "an emulator: " if facts.emulator else ""
    return BenchDevice(name, f"{emulator}{facts.title}, {release}, heat {condition.heat}", MEASURED)


def _emulated() -> BenchDevice:
    lacking = missing()
    problem = f"{', '.join(lacking)} missing; {INSTALL_LINE}" if lacking else None
    return BenchDevice("emulated", "Arm64 (cortex-a76) under qemu-user, over the real adb", COUNTED, problem)


def _cuda() -> BenchDevice:
    states = backend_states()
    lacking = [state for state in states if state.runs_on is None]
    problem = "; ".join(part for part in (lacking[0].why_not, lacking[0].remedy) if part) if lacking else None
    what = states[0].runs_on or "an NVIDIA GPU, for the network itself"
    return BenchDevice("cuda", what, MEASURED, problem)


def _ethos_u(installed: Callable[[str], object] = find_spec) -> BenchDevice:
    problem = None if installed("ethosu") else 'Vela is not installed; pip install "edgesr[ethos-u]"'
    return BenchDevice("ethos-u*", f"{ETHOS_U[0].name} to {ETHOS_U[-1].name}, by Arm's Vela", ESTIMATED, problem)
