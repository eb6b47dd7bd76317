"""The work folder on a device: files pushed by content, one run at a time, nothing left behind.

Every file lies in a folder named by its content's sha256, so that a file that is there already is not sent again. The
folder also holds the number of the process that runs, which is how a run that broke off is found and stopped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgesr.android_bench.adb_device import AdbDevice
from edgesr.android_bench.runner.bundle import sha256_of
from edgesr.errors import DeviceError

WORK_FOLDER = "/data/local/tmp/edgesr"
PID_FILE = f"{WORK_FOLDER}/pid"
LOCK = f"{WORK_FOLDER}/lock"
STALE_MINUTES = 15
IN_FOLDER = 'cd "$1" && echo $$ > "$2" && shift 2 && exec "$@"'
"""Notes the number that `exec` hands on to the program."""
SPARE_BYTES = 16 << 20
"""What must stay free beside the files, for outputs."""
HASH_LIMIT_S = 120.0
STOP_LIMIT_S = 20.0


class Workspace:
    """The folder, as a context: made on entering; on leaving, what runs there is killed and all is removed."""

    def __init__(self, device: AdbDevice) -> None:
        self.device = device

    def __enter__(self) -> Workspace:
        """Make the folder; raises `DeviceError` where another run is at work in it, or it cannot be written.

        Making the lock is one step on the device. Its owner touches it before every process: one that nobody touched
        for `STALE_MINUTES` minutes, while no process runs, was left by a run that broke off.
        """
        self._refuse_other_run()
        self.device.check(["mkdir", "-p", WORK_FOLDER])
        if not self.device.run(["mkdir", LOCK]).succeeded:
            recent = self.device.run(["find", LOCK, "-maxdepth", "0", "-mmin", f"-{STALE_MINUTES}"])
            if not self.device.run(["test", "-d", LOCK]).succeeded:
                raise DeviceError(
                    f"{self.device.name}: {LOCK} cannot be made; check that its adb shell may write there"
                )
            if recent.stdout.strip():
                raise DeviceError(
                    f"another run is at work on {self.device.name}; wait for its end, or, if it broke off: "
                    f"adb -s {self.device.serial} shell rm -r {WORK_FOLDER}"
                )
        self.keep_lock()
        return self

    def keep_lock(self) -> None:
        """Show other runs that this one is alive."""
        self.device.run(["touch", LOCK], STOP_LIMIT_S)

    def __exit__(self, *error: object) -> None:
        """Stop and remove. A device that is lost by now is cleaned by the next run."""
        try:
            self.stop()
            self.device.check(["rm", "-rf", WORK_FOLDER], STOP_LIMIT_S)
        except DeviceError:
            if error[0] is None:
                raise

    def put(self, files: Mapping[str, Path], programs: Sequence[str] = ()) -> str:
        """Send files to one folder under these names, and give that folder; `programs` can be executed there.

        Raises `DeviceError` where there is no space for them, or one does not arrive as it was sent.
        """
        hashes = {name: sha256_of(path) for name, path in files.items()}
        folder = f"{WORK_FOLDER}/{_digest(hashes)}"
        present = self._hashes(folder, list(files))
        missing = {name: path for name, path in files.items() if present.get(name) != hashes[name]}
        if missing:
            self._refuse_without_space(sum(path.stat().st_size for path in missing.values()))
            self.device.check(["mkdir", "-p", folder])
            for name, path in missing.items():
                self.device.push(path, f"{folder}/{name}")
            self._refuse_changed(folder, {name: hashes[name] for name in missing})
        if programs:
            self.device.check(["chmod", "755", *(f"{folder}/{name}" for name in programs)])
        return folder

    def command(self, folder: str, arguments: Sequence[str]) -> list[str]:
        """The command line that runs a program in a folder and notes its process."""
        return ["sh", "-c", IN_FOLDER, "sh", folder, PID_FILE, *arguments]

    def stop(self) -> None:
        """Kill what runs, if anything does."""
        pid = self._running()
        if pid is not None:
            self.device.run(["kill", "-9", pid], STOP_LIMIT_S)
        self.device.run(["rm", "-f", PID_FILE], STOP_LIMIT_S)

    def _refuse_other_run(self) -> None:
        pid = self._running()
        if pid is not None:
            raise DeviceError(
                f"another run is at work on {self.device.name} (process {pid}); wait for its end, "
                f"or stop it: adb -s {self.device.serial} shell kill {pid}"
            )

    def _running(self) -> str | None:
        """The number of the noted process, where it lives and works in this folder."""
        noted = self.device.run(["cat", PID_FILE], STOP_LIMIT_S)
        pid = noted.stdout.strip()
        if not noted.succeeded or not pid.isdigit():
            return None
        where = self.device.run(["readlink", f"/proc/{pid}/cwd"], STOP_LIMIT_S)
        return pid if WORK_FOLDER in where.stdout else None

    def _hashes(self, folder: str, names: Sequence[str]) -> dict[str, str]:
        """sha256 by name of the files that are there. Without sha256sum (old devices) none is."""
        done = self.device.run(["sha256sum", *(f"{folder}/{name}" for name in names)], HASH_LIMIT_S)
        lines = re.findall(r"^([0-9a-f]{64})\s+.*/([^/\n]+?)\s*$", done.stdout, re.MULTILINE)
        return {name: digest for digest, name in lines}

    def _refuse_changed(self, folder: str, wanted: Mapping[str, str]) -> None:
        arrived = self._hashes(folder, list(wanted))
        changed = [name for name, digest in wanted.items() if arrived and arrived.get(name) != digest]
        if changed:
            raise DeviceError(
                f"{changed[0]} arrived on {self.device.name} with other content; check the cable, try again"
            )

    def _refuse_without_space(self, needed: int) -> None:
        free = free_bytes(self.device.run(["df", "-k", WORK_FOLDER]).stdout)
        if free is not None and free < needed + SPARE_BYTES:
            raise DeviceError(
                f"{self.device.name} has {free / 1e6:.0f} MB free, {(needed + SPARE_BYTES) / 1e6:.0f} MB are needed; "
                "free some space on it"
            )


def free_bytes(text: str) -> int | None:
    """What `df -k FOLDER` calls available, in bytes; None where it prints something else."""
    words = text.splitlines()[-1].split() if text.strip() else []
    return int(words[-3]) * 1024 if len(words) >= 5 and words[-3].isdigit() else None


def _digest(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(hashes.items())).encode()).hexdigest()[:16]
