"""An adb that needs no device: it answers on the command line as adb does, and its device's shell is this machine's."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesr.android_bench import workspace
from edgesr.android_bench.adb import Adb
from edgesr.android_bench.adb_device import AdbDevice

LOCAL_ADB = '''#!{python} -IS
"""Stands in for adb: shell lines run here, push and pull copy files. Its settings lie in a JSON file beside it."""
import json, os, pathlib, shutil, subprocess, sys

settings = json.loads(pathlib.Path(__file__).with_suffix(".json").read_text())
arguments = sys.argv[1:]
serial = None
if arguments[:1] == ["-s"]:
    serial, arguments = arguments[1], arguments[2:]
command, rest = arguments[0], arguments[1:]
with pathlib.Path(__file__).with_suffix(".calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
fail = settings["fail"].get(command)
if fail:
    print(fail["stderr"], file=sys.stderr)
    sys.exit(fail["code"])
if command == "start-server":
    pass
elif command == "devices":
    print("* daemon started successfully\\nList of devices attached")
    print("\\n".join(settings["devices"]) + "\\n")
elif command == "features":
    print("\\n".join(settings["features"]))
elif command == "get-state":
    print(settings["state"])
elif command in ("push", "pull"):
    shutil.copy(rest[0], rest[1])
elif command == "shell":
    if "shell_v2" in settings["features"]:
        os.execvp("sh", ["sh", "-c", rest[0]])
    subprocess.run(["sh", "-c", rest[0]], stderr=subprocess.STDOUT)
'''


class LocalAdb:
    """The stand-in and its settings."""

    def __init__(self, folder: Path) -> None:
        self.binary = folder / "adb"
        self.binary.write_text(LOCAL_ADB.replace("{python}", sys.executable))
        self.binary.chmod(0o755)
        self.settings: dict[str, Any] = {
            "devices": ["PHONE1   device usb:1-1 product:pa3q model:SM_S938B device:pa3q transport_id:1"],
            "features": ["shell_v2", "cmd", "stat_v2"],
            "state": "device",
            "fail": {},
        }
        self.set()

    def set(self, **changes: Any) -> None:
        """Change settings."""
        self.settings |= changes
        self.binary.with_suffix(".json").write_text(json.dumps(self.settings))

    def fail(self, command: str, stderr: str, code: int = 1) -> None:
        """Let a command fail from now on."""
        self.set(fail={**self.settings["fail"], command: {"stderr": stderr, "code": code}})

    def calls(self, command: str) -> list[list[str]]:
        """The command lines so far that hold a command."""
        lines = self.binary.with_suffix(".calls").read_text().splitlines()
        return [call for call in map(json.loads, lines) if command in call]

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
