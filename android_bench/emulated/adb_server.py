"""An adb server of our own: the real adb's, on a port of its own, with its own home folder and so its own key.

The user's adb server, devices and keys are left alone: it looks for neither USB devices nor emulators nor mDNS.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from edgesr.android_bench.cache import cache_folder
from edgesr.errors import DeviceError

START_LIMIT_S = 20.0
CLIENT_LIMIT_S = 30.0
LOG = "adb-server.log"


class AdbServer:
    """Runs from `start` to `stop`; `environment` is what a client of it needs."""

    def __init__(self, adb: Path, home: Path) -> None:
        self._adb = adb
        self._home = home
        self.log = home / LOG
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """For adb clients: this server's port and home, nothing of the user's adb settings, and the user's cache.

        The cache stays named because edgesr, too, runs with this environment, and finds there what it built.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ADB_", "ANDROID_"))}
        return {
            **kept, "HOME": str(self._home), "ANDROID_SDK_HOME": str(self._home), "ANDROID_USER_HOME": str(self._home),
            "ANDROID_ADB_SERVER_PORT": str(self._port), "ADB_MDNS": "0", "ADB_USB": "0",
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554", "TMPDIR": str(self._home),
            "XDG_CACHE_HOME": str(cache_folder().parent),
        }  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it answers; raises `DeviceError` naming its log where it does not."""
        self._home.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_guard(), str(self._adb), "-P", str(self._port), "nodaemon", "server"], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=dict(self.environment), cwd=self._home, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_LIMIT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise DeviceError(f"the adb server of the emulated device does not start; see {self.log}")
            time.sleep(0.02)

    def client(self, *words: str) -> str:
        """What `adb WORDS` prints; raises `DeviceError` where it takes too long."""
        try:
            done = subprocess.run(
                [str(self._adb), *words], env=dict(self.environment), stdin=subprocess.DEVNULL, capture_output=True,
                text=True, errors="replace", timeout=CLIENT_LIMIT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as expired:
            raise DeviceError(f"adb {words[0]} took more than {CLIENT_LIMIT_S:g} s; see {self.log}") from expired
        return done.stdout + done.stderr

    def stop(self) -> None:
        """End it."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False


def _guard() -> Sequence[str]:
    """Ends the server with this process, where the system can."""
    setpriv = shutil.which("setpriv")
    return () if setpriv is None else (setpriv, "--pdeathsig", "KILL")


def free_port() -> int:
    """A free port of loopback, outside those where adb looks for emulators (5554 to 5585)."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if not 5554 <= port <= 5585:
            return port
