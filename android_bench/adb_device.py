"""One device over adb: programs with their exit codes, files to it and from it.

Android 6 and older (adb without `shell_v2`) lose exit codes and mix both streams: there every command ends in a line
that says its code.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from edgesr.android_bench.adb import READY, Adb
from edgesr.android_bench.adb_messages import DeviceLostError, error_from, fault_in
from edgesr.android_bench.shell import DEFAULT_LIMIT_S, Completed, quoted
from edgesr.errors import DeviceError

CONNECTION_CODE = 255
"""What adb answers where the connection broke; a program may answer it too."""
EXIT_MARK = "edgesr-exit-code:"
STATE_LIMIT_S = 10.0
COPY_LIMIT_S = 600.0


class AdbDevice:
    """A device by its serial: a `Shell`, with push and pull. All that is said goes to `log`, where one is given."""

    def __init__(self, adb: Adb, serial: str, log: Path | None = None) -> None:
        self.adb = adb
        self.serial = serial
        self._log = log

    @property
    def name(self) -> str:
        """For messages."""
        return f"device {self.serial}"

    @cached_property
    def tells_exit_codes(self) -> bool:
        """Whether adb and the device speak shell_v2."""
        done = self._call(["features"], STATE_LIMIT_S)
        return done.succeeded and "shell_v2" in done.stdout.split()

    def run(
        self,
        arguments: Sequence[str],
        time_limit_s: float = DEFAULT_LIMIT_S,
        on_line: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Completed:
        """Run a program on the device; raises `DeviceError` where the device is gone or the limit is passed.

        `on_line` sees each line of its output as it comes; `stop`, set by another thread, ends the wait for it.
        """
        line = quoted(arguments)
        if self.tells_exit_codes:
            done = self._call(["shell", line], time_limit_s, on_line, stop)
        else:
            done = with_exit_code(self._call(["shell", f"({line}); echo {EXIT_MARK}$?"], time_limit_s, on_line, stop))
        if done.code == CONNECTION_CODE:
            self._refuse_if_lost(arguments[0], done)
        return done

    def check(self, arguments: Sequence[str], time_limit_s: float = DEFAULT_LIMIT_S) -> str:
        """What a program prints; raises `DeviceError` where it ends with another code than 0."""
        done = self.run(arguments, time_limit_s)
        if not done.succeeded:
            raise error_from(f"{arguments[0]} on {self.name}", f"{done.stdout}\n{done.stderr}")
        return done.stdout

    def push(self, local: Path, remote: str) -> None:
        """Copy a file to the device; raises `DeviceError` for a full, read-only or lost one."""
        self._copy(["push", str(local), remote], f"{local.name} cannot be copied to {self.name}")

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from the device."""
        self._copy(["pull", remote, str(local)], f"{remote} cannot be copied from {self.name}")

    def _copy(self, arguments: Sequence[str], what: str) -> None:
        done = self._call(arguments, COPY_LIMIT_S)
        text = f"{done.stdout}\n{done.stderr}"
        if not done.succeeded:
            raise error_from(what, text)

    def _call(
        self,
        arguments: Sequence[str],
        time_limit_s: float,
        on_line: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Completed:
        try:
            done = self.adb.call(["-s", self.serial, *arguments], time_limit_s, on_line, stop)
        except BaseException as error:
            self.note(arguments, "", f"{type(error).__name__}: {error}")
            raise
        self.note(arguments, f"{done.stdout}{done.stderr}", f"exit code {done.code}")
        return done

    def note(self, arguments: Sequence[str], text: str, ending: str) -> None:
        """Add what was asked and said to the log."""
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"$ adb {' '.join(arguments)}\n{text}\n[{ending}]\n\n")

    def _refuse_if_lost(self, program: str, done: Completed) -> None:
        """Tell a program that ended with 255 from a connection that broke."""
        fault = fault_in(done.stderr)
        if fault is not None and done.stderr.startswith(("error:", "adb:")):
            raise error_from(f"{self.name} is lost while it ran {program}", done.stderr)
        self.require_present(f"while it ran {program}")

    def require_present(self, when: str) -> None:
        """Raise `DeviceLostError` where adb no longer sees the device as ready.

        To be asked whenever a program ended before it should: adb 29 ends with code 0 where a connection breaks.
        """
        state = self._call(["get-state"], STATE_LIMIT_S)
        if state.stdout.strip() != READY:
            raise DeviceLostError(
                f"{self.name} is lost {when}; reconnect it and start again (the next run cleans up what it holds)"
            )


def with_exit_code(done: Completed) -> Completed:
    """The result without the line that says the program's code; raises `DeviceLostError` where that never came."""
    match = re.search(rf"{EXIT_MARK}(\d+)\s*\Z", done.stdout)
    if match is None:
        if not done.succeeded and fault_in(done.stderr) is not None:
            raise error_from("adb shell", done.stderr)
        raise DeviceLostError("the device's shell ended before the program did; reconnect it and start again")
    return Completed(int(match[1]), done.stdout[: match.start()], done.stderr)


def refuse_unready(device: AdbDevice) -> None:
    """Raise `DeviceError` where the device does not answer a shell command."""
    done = device.run(["true"])
    if not done.succeeded:
        raise DeviceError(
            f"{device.name} answers no shell command ({done.last_words}); see adb -s {device.serial} shell"
        )
