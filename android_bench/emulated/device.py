"""The emulated device: an arm64 userland behind the real adb, on this machine, without root.

    with EmulatedDevice() as device:
        subprocess.run([device.adb, "-s", device.serial, "shell", "getprop"], env=device.environment)

It proves that the whole way works: the real adb, push, run, pull, and the real arm64 LiteRT; and it counts
instructions. It says nothing about time. See docs/adr/0010-emulated-device.md.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from edgesr.android_bench.emulated.adb_server import AdbServer, free_port
from edgesr.android_bench.emulated.adbd import LOOPBACK, Adbd
from edgesr.android_bench.emulated.device_root import lay_out, make_removable
from edgesr.android_bench.emulated.faults import Faults
from edgesr.android_bench.emulated.guest import GuestProcess
from edgesr.android_bench.emulated.instructions import read_counts
from edgesr.android_bench.emulated.launcher import COUNTS, PRIVATE, Launcher
from edgesr.android_bench.emulated.requirements import find_requirements
from edgesr.errors import DeviceError

STOP_LIMIT_S = 30.0
Result = TypeVar("Result")


class EmulatedDevice:
    """A device from `with` to its end; on leaving, on an exception and on Ctrl-C nothing of it is left.

    `folder` holds the device's files and adb's (a temporary one where it is not given); only what the device put there
    is removed. `faults` make it misbehave. `instructions` counts those of each timed run, at half the speed. Each
    device has an adb server of its own, unless it is `beside` another, open one, whose server then sees both. It ends
    with the thread that opened it.

    Raises `MissingBackendError` where this machine lacks a part, `DeviceError` where one does not start.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        faults: Faults = Faults(),  # noqa: B008  # frozen: one instance serves all
        instructions: bool = True,
        beside: EmulatedDevice | None = None,
    ) -> None:
        self._requirements = find_requirements()
        self._given = folder
        self._faults = faults
        self._instructions = instructions
        self._beside = beside
        self.adb = self._requirements.adb
        self.serial = f"{LOOPBACK}:{free_port()}"
        self.root = Path()
        self._folder = Path()
        self._server: AdbServer | None = beside.server if beside is not None else None
        self._adbd: Adbd | None = None
        self._launcher: Launcher | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def server(self) -> AdbServer:
        """The adb server that sees this device; raises `DeviceError` while the device is closed."""
        if self._server is None:
            raise DeviceError("the emulated device is not open; use it in a with statement")
        return self._server

    @property
    def environment(self) -> Mapping[str, str]:
        """What an adb client process needs to see this device and no other."""
        return self.server.environment

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="edgesr-device-", dir=self._given)).resolve()
        if ":" in str(self._folder):
            raise DeviceError(f"{self._folder} has a colon in its path, which proot cannot take; choose another folder")
        self.root = self._folder / "root"
        binds = lay_out(self.root, self._requirements.userland, self._faults)
        self._launcher = Launcher(
            self._requirements.tools, self.root, binds, self._instructions, unprivileged=self._faults.read_only
        )
        self._adbd = Adbd(self.root, self._launcher, self._faults)
        self._start_loop()
        self._call(self._adbd.start(int(self.serial.rpartition(":")[2])))
        if self._beside is None:
            self._server = AdbServer(self.adb, self._folder / "adb")
            self._server.start()
        self.server.client("connect", self.serial)

    def _start_loop(self) -> None:
        loop = asyncio.new_event_loop()
        self._loop = loop
        self._thread = threading.Thread(target=loop.run_forever, name=f"adbd {self.serial}", daemon=True)
        self._thread.start()

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the device's loop and wait for it."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STOP_LIMIT_S)

    def close(self) -> None:
        """Kill what runs in the device, stop its adb server, and remove its files. May be called again."""
        try:
            if self._adbd is not None and self._loop is not None and self._loop.is_running():
                self._call(self._adbd.stop())
        finally:
            self._adbd = None
            self._stop_loop()
            if self._server is not None and self._beside is None:
                self._server.stop()
            elif self._server is not None:
                self._server.client("disconnect", self.serial)
            self._server = None
            if self._folder != Path():
                make_removable(self._folder)
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = Path()

    def _stop_loop(self) -> None:
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_LIMIT_S)
        self._loop.close()
        self._loop = self._thread = None

    def instruction_counts(self) -> tuple[int, ...]:
        """Instructions between the markers of each timed run since the last call, in order; not while one goes on."""
        return read_counts(self.root / PRIVATE / COUNTS)

    def processes(self) -> list[GuestProcess]:
        """The guest's processes that are alive."""
        return [] if self._launcher is None else self._launcher.processes()

    def drop(self) -> None:
        """Be gone from now on, as if the cable was pulled."""
        if self._loop is not None and self._adbd is not None:
            self._loop.call_soon_threadsafe(self._adbd.drop)
