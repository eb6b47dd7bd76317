"""An adb that needs no device: it answers on the command line as adb does, and its device's shell is this machine's."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesr.android_bench import workspace
from edgesr.android_bench.adb import Adb
from edgesr.android_bench.adb_device import AdbDevice

LOCAL_ADB = r"""#!/bin/sh
# Stands in for adb: shell lines run here, push and pull copy files. Its settings are the files beside it.
own="$0.d"
printf '%s\n' "$*" >> "$own/calls"
[ "$1" = -s ] && shift 2
command=$1; shift
if [ -f "$own/fail-$command" ]; then
  cat "$own/fail-$command" >&2
  exit "$(cat "$own/code-$command")"
fi
case $command in
  start-server) ;;
  devices) printf '* daemon started successfully\nList of devices attached\n'; cat "$own/devices"; echo ;;
  features | get-state) cat "$own/$command" ;;
  push | pull) cp "$1" "$2" ;;
  shell)
    if grep -q shell_v2 "$own/features"; then exec sh -c "$1"; fi
    sh -c "$1" 2>&1
    exit 0 ;;
esac
"""


class LocalAdb:
    """The stand-in and its settings."""

    def __init__(self, folder: Path) -> None:
        self.binary = folder / "adb"
        self.binary.write_text(LOCAL_ADB)
        self.binary.chmod(0o755)
        self._settings = folder / "adb.d"
        self._settings.mkdir()
        self.set(
            devices=["PHONE1   device usb:1-1 product:pa3q model:SM_S938B device:pa3q transport_id:1"],
            features=["shell_v2", "cmd", "stat_v2"],
            state="device",
        )

    def set(
        self, devices: list[str] | None = None, features: list[str] | None = None, state: str | None = None
    ) -> None:
        """Change settings."""
        changes = {"devices": devices, "features": features, "get-state": None if state is None else [state]}
        for name, lines in changes.items():
            if lines is not None:
                (self._settings / name).write_text("".join(f"{line}\n" for line in lines))

    def fail(self, command: str, stderr: str, code: int = 1) -> None:
        """Let a command fail from now on."""
        (self._settings / f"fail-{command}").write_text(f"{stderr}\n")
        (self._settings / f"code-{command}").write_text(str(code))

    def calls(self, command: str) -> list[str]:
        """The command lines so far that hold a command."""
        lines = (self._settings / "calls").read_text().splitlines()
        return [line for line in lines if command in line.split()[:3]]

    @property
    def adb(self) -> Adb:
        return Adb(self.binary)

    @property
    def device(self) -> AdbDevice:
        return AdbDevice(self.adb, "PHONE1")


@pytest.fixture
def local_adb(tmp_path: Path) -> LocalAdb:
    folder = tmp_path / "adb-folder"
    folder.mkdir()
    return LocalAdb(folder)


@pytest.fixture
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The work folder of the stand-in's device: a folder of this machine."""
    folder = tmp_path / "device" / "edgesr"
    folder.parent.mkdir()
    monkeypatch.setattr(workspace, "WORK_FOLDER", str(folder))
    monkeypatch.setattr(workspace, "PID_FILE", str(folder / "pid"))
    return folder


@pytest.fixture
def make_program(tmp_path: Path) -> Callable[[str, str], Path]:
    """`make_program(name, lines)`: an executable script for the device's shell."""

    def make(name: str, lines: str) -> Path:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{lines}\n")
        program.chmod(0o755)
        return program

    return make


@pytest.fixture(autouse=True)
def no_serial_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    assert "ANDROID_SERIAL" not in os.environ
