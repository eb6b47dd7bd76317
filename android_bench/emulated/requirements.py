"""What the emulated device needs on this machine, and which of it is missing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from edgesr.android_bench.emulated.launcher import Tools, find_tools
from edgesr.android_bench.emulated.userland import BUILD_LINE, Userland, find_userland
from edgesr.android_bench.runner.bundle import Platform, find_bundle
from edgesr.errors import DeviceError, MissingBackendError

INSTALL_LINE = BUILD_LINE


@dataclass(frozen=True)
class Requirements:
    """All that was found for a device."""

    adb: Path
    tools: Tools
    userland: Userland


def missing() -> list[str]:
    """Which of the emulated device's parts are missing or stale, each in a few words; none: it can be opened."""
    absent = list(find_tools()[1])
    if shutil.which("adb") is None:
        absent.append("adb")
    for find in (find_userland, lambda: find_bundle(Platform.LINUX_ARM64)):
        try:
            find()
        except (MissingBackendError, DeviceError) as error:
            absent.append(str(error).partition(";")[0])
    return absent


def find_requirements() -> Requirements:
    """What a device needs; raises `MissingBackendError` in one line that names all that is missing."""
    tools, _ = find_tools()
    adb = shutil.which("adb")
    if (absent := missing()) or tools is None or adb is None:
        raise MissingBackendError(f"the emulated device lacks {', '.join(absent)}; run {INSTALL_LINE}")
    return Requirements(Path(adb), tools, find_userland())
