"""The root folder of one emulated device: a copy of the userland, and the files in which a device tells about itself.

What it says by default is honest: an emulated CPU with no clock, no battery, no thermal sensor. Tests put other values
there through `Faults`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from edgesr.android_bench.emulated.faults import Faults
from edgesr.android_bench.emulated.launcher import CPU, PRIVATE
from edgesr.android_bench.emulated.userland import Userland

MODEL = "edgesr emulated"
PROPERTIES: Mapping[str, str] = {
    "ro.product.manufacturer": "edgesr",
    "ro.product.brand": "edgesr",
    "ro.product.name": "edgesr_emulated",
    "ro.product.device": "edgesr_emulated",
    "ro.product.model": MODEL,
    "ro.soc.manufacturer": "qemu",
    "ro.soc.model": f"qemu {CPU}",
    "ro.hardware": "qemu",
    "ro.board.platform": "qemu",
    "ro.kernel.qemu": "1",
    "ro.build.characteristics": "emulator",
    "ro.build.fingerprint": "edgesr/edgesr_emulated/edgesr_emulated:userland/debian",
}
GREETED = ("ro.product.name", "ro.product.model", "ro.product.device")
"""Properties that a device tells a host on connecting."""
SERVICES: Mapping[str, str] = {
    "battery": "Current Battery Service state:\n  AC powered: true\n  USB powered: false\n  Wireless powered: false\n"
    "  present: false\n",
    "thermalservice": "IsStatusOverride: false\nThermalEventListeners:\n\tcallbacks: 0\nThermal Status: 0\n"
    "Cached temperatures:\nHAL Ready: false\n",
}
CPU_FOLDER = "/sys/devices/system/cpu"
CORE = (
    "processor\t: {number}\nBogoMIPS\t: 100.00\n"
    "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\n"
    "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\n"
)
"""/proc/cpuinfo of a Cortex-A76; without an Arm one LiteRT's feature detection crashes."""


def properties(faults: Faults) -> dict[str, str]:
    """What getprop answers."""
    abis = {"ro.product.cpu.abi": faults.abi, "ro.product.cpu.abilist": faults.abi}
    return {**PROPERTIES, **abis, **faults.properties}


def lay_out(root: Path, userland: Userland, faults: Faults) -> dict[str, Path]:
    """Fill the root folder; the files that must be bound over the host's (below /proc), by device path."""
    shutil.copytree(userland.root, root, symlinks=True, dirs_exist_ok=True)
    _name_the_user(root / "etc")
    lines = [f"{name}={value}\n" for name, value in properties(faults).items()]
    (root / "system" / "build.prop").write_text("".join(lines), encoding="utf-8")
    for service, text in {**SERVICES, **faults.services}.items():
        (root / "system" / "etc" / "dumpsys" / service).write_text(text, encoding="utf-8")
    binds = {}
    for path, text in {**_cpu_files(), **faults.files}.items():
        target = root / PRIVATE / path.strip("/").replace("/", "_") if _is_hosts(path) else root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        if _is_hosts(path):
            binds[path] = target
    if faults.read_only:
        (root / "data" / "local" / "tmp").chmod(0o555)
    return binds


def _name_the_user(folder: Path) -> None:
    """Whoever runs the device is its user `shell`, or `root`: proot shows the host's numbers."""
    accounts = {0: "root", os.getuid() or 2000: "shell"}
    groups = {0: "root", os.getgid() or 2000: "shell"}
    people = [
        f"{name}:x:{number}:{os.getgid()}:{name}:/data/local/tmp:/system/bin/sh\n" for number, name in accounts.items()
    ]
    (folder / "passwd").write_text("".join(people), encoding="utf-8")
    (folder / "group").write_text("".join(f"{name}:x:{n}:\n" for n, name in groups.items()), encoding="utf-8")


def make_removable(root: Path) -> None:
    """Take back modes with which a folder cannot be removed."""
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o755)


def _is_hosts(path: str) -> bool:
    return path.startswith(("/proc/", "/dev/"))


def _cpu_files() -> dict[str, str]:
    """As many cores as the host has: that is where the emulator's threads run."""
    cores = os.cpu_count() or 1
    numbers = f"0-{cores - 1}\n" if cores > 1 else "0\n"
    lists = {f"{CPU_FOLDER}/{name}": numbers for name in ("possible", "present", "online")}
    return {"/proc/cpuinfo": "".join(CORE.format(number=number) for number in range(cores)), **lists}
