"""What adb says when something is wrong, and what to do about it: two literal tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgesr.errors import DeviceError


class DeviceLostError(DeviceError):
    """The connection to a device that answered before is gone; what it holds cannot be cleaned up now."""


@dataclass(frozen=True)
class AdbFault:
    """A pattern in adb's output, what it means, and the cure; `lost` where the device is no longer there."""

    pattern: str
    meaning: str
    cure: str
    lost: bool = False


FAULTS: tuple[AdbFault, ...] = (
    AdbFault(r"no devices/emulators found", "no device is attached", "connect one with USB debugging on"),
    AdbFault(r"more than one device", "several devices are attached", "choose one: --device adb:SERIAL"),
    AdbFault(r"device unauthorized", "it does not trust this machine", "unlock the phone and tap Allow"),
    AdbFault(r"device still authorizing", "it has not answered yet", "unlock the phone and tap Allow"),
    AdbFault(r"device offline", "it is offline", "reconnect it, or run adb reconnect", lost=True),
    AdbFault(r"device '.*' not found", "it is no longer attached", "reconnect it and start again", lost=True),
    AdbFault(r"device not found", "it is no longer attached", "reconnect it and start again", lost=True),
    AdbFault(r"[Nn]o space left on device", "its storage is full", "free some space on it"),
    AdbFault(r"[Rr]ead-only file system", "its work folder cannot be written", "take a device whose /data is writable"),
    AdbFault(r"[Pp]ermission denied", "it refuses access", "check that its adb shell may write to /data/local/tmp"),
    AdbFault(r"protocol fault|[Cc]onnection reset|error: closed|failed to read", "the connection broke",
             "check the cable or network, and start again", lost=True),
    AdbFault(r"cannot connect to daemon|failed to start daemon|cannot bind", "adb's server does not start",
             "see adb start-server"),
)  # fmt: skip

STATE_CURES: Mapping[str, str] = {
    "unauthorized": "unlock the phone and tap Allow for this machine",
    "authorizing": "unlock the phone and tap Allow for this machine",
    "offline": "reconnect it, or run adb reconnect",
    "connecting": "wait a moment and try again",
    "recovery": "boot it into Android",
    "sideload": "boot it into Android",
    "bootloader": "boot it into Android",
    "no permissions": "give this user access to the USB device (udev rules, group plugdev)",
}
"""By the state that `adb devices` prints, for every state that is not `device`."""


def fault_in(text: str) -> AdbFault | None:
    """The first fault that adb's output tells of, None where it tells of none."""
    return next((fault for fault in FAULTS if re.search(fault.pattern, text)), None)


def error_from(what: str, text: str) -> DeviceError:
    """The error for what adb printed as it failed at `what`."""
    fault = fault_in(text)
    if fault is None:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return DeviceError(f"{what}: adb says '{lines[-1] if lines else 'nothing'}'; see adb devices")
    kind = DeviceLostError if fault.lost else DeviceError
    return kind(f"{what}: {fault.meaning}; {fault.cure}")
