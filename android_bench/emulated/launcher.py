"""Commands inside the device: its shell under proot, which shows it the device's files, and qemu, which runs arm64.

Neither needs root. The CPU is a Cortex-A76: `-cpu max` offers instructions (SME) with which LiteRT's INT8 kernels
compute wrong values under QEMU, and older cores lack atomics that LiteRT needs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgesr.android_bench.emulated.guest import GuestProcess, guests_of

CPU = "cortex-a76"
WORK_FOLDER = "/data/local/tmp"
PRIVATE = ".edgesr"
"""The folder in the device's root for what makes it a device: the preloaded library, the plugin, its counts."""
SHIM, PLUGIN, COUNTS = "libaccess.so", "libcount.so", "counts"
HOST_FILES = ("/proc", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
SHELL = "/system/bin/sh"
STOP_LIMIT_S = 5.0
PART_BYTES = 65536


@dataclass(frozen=True)
class Tools:
    """The host's programs. `setpriv` ends proot, and with it the guest, when this process dies; None: not there."""

    qemu: str
    proot: str
    setpriv: str | None


class Launcher:
    """Starts commands in the device below `root`; `binds` are host files shown at device paths."""

    def __init__(
        self, tools: Tools, root: Path, binds: Mapping[str, Path], instructions: bool, unprivileged: bool = False
    ) -> None:
        self._tools = tools
        self._root = root
        self._binds = dict(binds)
        self._instructions = instructions
        self._unprivileged = unprivileged
        self._running: set[asyncio.subprocess.Process] = set()

    def words(self, command: str) -> list[str]:
        """The argument list that runs a shell command, or the shell on its input where the command is empty."""
        binds = [word for path in HOST_FILES for word in ("-b", path)]
        binds += [word for path, host in self._binds.items() for word in ("-b", f"{host}:{path}")]
        shell = [SHELL, "-c", command] if command else [SHELL]
        proot = [self._tools.proot, "-q", self._qemu(), "-r", str(self._root), *binds, "-w", WORK_FOLDER]
        return [*self._guard(), *proot, *shell]

    def _qemu(self) -> str:
        plugin = f" -plugin /{PRIVATE}/{PLUGIN},out=/{PRIVATE}/{COUNTS}" if self._instructions else ""
        return f"{self._tools.qemu} -cpu {CPU} -E LD_PRELOAD=/{PRIVATE}/{SHIM}{plugin}"

    def _guard(self) -> Sequence[str]:
        """Ends the guest with this process, and takes from root the right to write where the mode forbids it."""
        if self._tools.setpriv is None:
            return ()
        no_override = ["--bounding-set", "-dac_override"] if self._unprivileged and os.geteuid() == 0 else []
        return self._tools.setpriv, "--pdeathsig", "QUIT", *no_override

    async def start(self, command: str, merge_streams: bool) -> asyncio.subprocess.Process:
        """Start a shell command; with `merge_streams` stderr goes where stdout goes."""
        environment = {
            "PATH": "/system/bin", "HOME": WORK_FOLDER, "TMPDIR": WORK_FOLDER, "SHELL": SHELL, "USER": "shell",
            "ANDROID_ROOT": "/system", "ANDROID_DATA": "/data", "PROOT_TMP_DIR": str(self._root / PRIVATE),
            "PROOT_FORCE_FOREIGN_BINARY": "1",
        }  # fmt: skip
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self.words(command), stdin=pipe, stdout=pipe,
            stderr=asyncio.subprocess.STDOUT if merge_streams else pipe,
            env=environment, cwd=self._root, start_new_session=True,
        )  # fmt: skip
        self._running.add(process)
        return process

    async def stop(self, process: asyncio.subprocess.Process) -> None:
        """End a command with all that it started, and wait until they are gone."""
        if process.returncode is None:
            # SIGQUIT makes proot kill everything that it traces; killing proot itself would set the guests free
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGQUIT)
        ending = asyncio.create_task(_exit_of(process))
        try:
            done, _ = await asyncio.wait({ending}, timeout=STOP_LIMIT_S)
            if not done:
                self._kill(process.pid)
                await asyncio.wait({ending}, timeout=STOP_LIMIT_S)
        finally:
            ending.cancel()
            self._running.discard(process)

    def _kill(self, pid: int) -> None:
        """The hard way, for a proot that does not answer: its guests first, round by round, then its group."""
        while guests := guests_of({pid}):
            for guest in guests:
                with suppress(ProcessLookupError):
                    os.kill(guest.pid, signal.SIGKILL)
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def processes(self) -> list[GuestProcess]:
        """The guest's processes that are alive."""
        return guests_of({process.pid for process in self._running})


async def _exit_of(process: asyncio.subprocess.Process) -> None:
    """Wait for a process whose output nobody reads any more."""
    streams = [stream for stream in (process.stdout, process.stderr) if stream is not None]
    await asyncio.gather(*(_discard(stream) for stream in streams))
    await process.wait()


async def _discard(stream: asyncio.StreamReader) -> None:
    while await stream.read(PART_BYTES):
        pass


def find_tools() -> tuple[Tools | None, list[str]]:
    """The host's programs, or which are missing."""
    qemu, proot = shutil.which("qemu-aarch64"), shutil.which("proot")
    if qemu is None or proot is None:
        return None, [name for name, path in (("qemu-user", qemu), ("proot", proot)) if path is None]
    return Tools(qemu, proot, shutil.which("setpriv")), []
