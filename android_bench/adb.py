"""The `adb` binary: where it is, which devices it sees, and its commands as argument lists with time limits."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from edgesr.android_bench.adb_messages import STATE_CURES, error_from
from edgesr.android_bench.shell import Completed
from edgesr.errors import DeviceError, MissingBackendError

READY = "device"
SERVER_LIMIT_S = 30.0
DRAIN_LIMIT_S = 5.0
STOP_POLL_S = 0.2
SERIAL_VARIABLE = "ANDROID_SERIAL"
"""adb's own: the device to take where none is named."""
NO_ADB = (
    "adb is not installed; install Android's platform-tools (Debian: apt-get install adb, or pip install adbutils), "
    "or give its path with --adb"
)


@dataclass(frozen=True)
class Attached:
    """A device in adb's list: its serial, its state (`device` when it can be used) and what adb knows of it."""

    serial: str
    state: str
    description: str

    @property
    def ready(self) -> bool:
        """Whether it can be used now."""
        return self.state == READY

    @property
    def cure(self) -> str:
        """What makes it usable; empty when it is."""
        if self.ready:
            return ""
        return next((cure for state, cure in STATE_CURES.items() if self.state.startswith(state)), "see adb devices")


@dataclass(frozen=True)
class Adb:
    """An adb binary, and the environment that it runs in; None is this process's."""

    binary: Path
    environment: Mapping[str, str] | None = None

    def call(
        self,
        arguments: Sequence[str],
        time_limit_s: float,
        on_line: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Completed:
        """Run adb with these arguments; `on_line` sees each line of its standard output as it comes.

        Raises `DeviceError` where it cannot start, runs past the limit, or another thread sets `stop`. It is dead on
        return.
        """
        try:
            child = subprocess.Popen(
                [str(self.binary), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace",
                env=None if self.environment is None else dict(self.environment), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise DeviceError(
                f"{self.binary} cannot be started: {error.strerror}; reinstall adb or give --adb"
            ) from error
        return _follow(child, time_limit_s, on_line, stop, f"adb {' '.join(arguments[:3])}")

    def start_server(self) -> None:
        """Start adb's server where none runs, so that its words do not mix with a command's."""
        done = self.call(["start-server"], SERVER_LIMIT_S)
        if not done.succeeded:
            raise error_from("adb start-server", done.stderr + done.stdout)

    def attached(self) -> tuple[Attached, ...]:
        """The devices that adb sees, in its order."""
        self.start_server()
        done = self.call(["devices", "-l"], SERVER_LIMIT_S)
        if not done.succeeded:
            raise error_from("adb devices", done.stderr + done.stdout)
        return parse_devices(done.stdout)

    def choose(self, serial: str | None) -> Attached:
        """The device of that serial, or the only one; raises `DeviceError` for none, several, or one not usable."""
        found = self.attached()
        serial = serial or (os.environ if self.environment is None else self.environment).get(SERIAL_VARIABLE) or None
        if serial is not None:
            found = tuple(device for device in found if device.serial == serial)
            if not found:
                raise DeviceError(
                    f"adb sees no device '{serial}'; see edgesr devices, and adb connect for one on a network"
                )
        if not found:
            raise DeviceError("adb sees no device; connect one with USB debugging on, and see edgesr devices")
        if len(found) > 1:
            serials = ", ".join(device.serial for device in found)
            raise DeviceError(
                f"{len(found)} devices are attached ({serials}); choose one: --device adb:SERIAL, or adb:all"
            )
        if not found[0].ready:
            raise DeviceError(f"device {found[0].serial} is {found[0].state}; {found[0].cure}")
        return found[0]


def find_adb(given: Path | None = None) -> Path:
    """The adb to use: the given one, else the one on PATH, else adbutils'; raises `MissingBackendError`."""
    if given is not None:
        if given.is_file() and os.access(given, os.X_OK):
            return given
        raise DeviceError(f"{given} is no program; give the path of adb itself with --adb")
    on_path = shutil.which("adb")
    if on_path is not None:
        return Path(on_path)
    bundled = _adbutils_binary()
    if bundled is not None:
        return bundled
    raise MissingBackendError(NO_ADB)


def parse_devices(text: str) -> tuple[Attached, ...]:
    """What `adb devices -l` lists: serial, state (one word, or `no permissions (...)`) and key:value pairs."""
    devices = []
    for line in text.splitlines():
        serial, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if not rest or line.startswith(("List of devices", "*")):
            continue
        state = "no permissions" if rest.startswith("no permissions") else rest.split()[0]
        devices.append(Attached(serial, state, rest.removeprefix(state).strip()))
    return tuple(devices)


def _adbutils_binary() -> Path | None:
    spec = find_spec("adbutils")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "binaries" / ("adb.exe" if os.name == "nt" else "adb")
    return binary if binary.is_file() else None


def _follow(
    child: subprocess.Popen[str],
    time_limit_s: float,
    on_line: Callable[[str], None] | None,
    stop: threading.Event | None,
    what: str,
) -> Completed:
    """Read both streams until the child ends; kill it at the limit and on any exception, Ctrl-C included."""
    streams: dict[str, list[str]] = {"stdout": [], "stderr": []}
    threads = [
        _reader(child.stdout, streams["stdout"], on_line),
        _reader(child.stderr, streams["stderr"], None),
    ]
    try:
        code = _wait(child, time_limit_s, stop)
        for thread in threads:
            thread.join(DRAIN_LIMIT_S)  # a server that adb started may hold the streams open for ever
    except subprocess.TimeoutExpired as expired:
        _kill(child)
        raise DeviceError(
            f"{what}: no answer within {time_limit_s:g} s; check the device, or raise --timeout"
        ) from expired
    except BaseException:
        _kill(child)
        raise
    return Completed(code, "".join(streams["stdout"]), "".join(streams["stderr"]))


def _wait(child: subprocess.Popen[str], time_limit_s: float, stop: threading.Event | None) -> int:
    """The child's exit code. Raises `TimeoutExpired` at the limit, `DeviceError` where it is to stop."""
    if stop is None:
        return child.wait(timeout=time_limit_s)
    deadline = time.monotonic() + time_limit_s
    while True:
        try:
            return child.wait(timeout=min(STOP_POLL_S, max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            if stop.is_set():
                raise DeviceError("interrupted") from None
            if time.monotonic() >= deadline:
                raise


def _reader(stream: IO[str] | None, lines: list[str], on_line: Callable[[str], None] | None) -> threading.Thread:
    def read() -> None:
        if stream is None:
            return
        with stream:
            for line in stream:
                lines.append(line)
                if on_line is not None:
                    on_line(line)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _kill(child: subprocess.Popen[str]) -> None:
    with suppress(OSError):
        child.kill()
    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout=5)
