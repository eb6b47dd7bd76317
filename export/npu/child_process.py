"""A compiler as a child process: a list of arguments, a time limit, and its whole output in a log file.

Vendor compilers crash, hang and print from C; nothing of that may reach edgesr's own process or get lost.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgesr.atomic import write_atomically
from edgesr.errors import ExportError


@dataclass(frozen=True)
class ChildResult:
    """How a child ended: its exit code (negative: the signal that killed it), and what it printed."""

    tool: str
    code: int
    stdout: str
    stderr: str
    log: Path

    @property
    def output(self) -> str:
        """All that it printed."""
        return f"{self.stdout}\n{self.stderr}"

    @property
    def cause(self) -> str:
        """Why it failed: its last words, or the signal that killed it."""
        if self.code < 0:
            return f"{self.tool} died of {_signal_name(-self.code)}"
        lines = [line.strip() for text in (self.stderr, self.stdout) for line in reversed(text.splitlines())]
        words = next((line for line in lines if line), "it said nothing")
        return f"{self.tool} ended with code {self.code}: {words}"


def log_name(source: str, *parts: str) -> str:
    """A log's file name for a model's name, which may be any text, and what was done with it."""
    stem = re.sub(r"[^\w.-]+", "-", Path(source).stem)
    return ".".join((stem, *parts, "log"))


def run_child(
    tool: str, arguments: Sequence[str], log: Path, time_limit_s: float, environment: Mapping[str, str] | None = None
) -> ChildResult:
    """Run a program to its end, with `environment` added to this process's, and write what it printed to `log`.

    Raises `ExportError` where it runs past the time limit (its whole group of processes is killed) or cannot start.
    """
    try:
        child = subprocess.Popen(
            list(arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", env={**os.environ, **(environment or {})}, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ExportError(f"{tool} cannot be started: {error.strerror}; reinstall it") from error
    with child:
        try:
            stdout, stderr = child.communicate(timeout=time_limit_s)
        except subprocess.TimeoutExpired as expired:
            stdout, stderr = _stop(child)
            _write_log(log, arguments, f"stopped after {time_limit_s:g} s", stdout, stderr)
            raise ExportError(
                f"{tool} ran past {time_limit_s:g} s and was stopped; try a smaller image size or a longer limit; "
                f"its output is in {log}"
            ) from expired
        except BaseException:
            _stop(child)
            raise
    _write_log(log, arguments, f"exit code {child.returncode}", stdout, stderr)
    return ChildResult(tool, child.returncode, stdout, stderr, log)


def _stop(child: subprocess.Popen[str]) -> tuple[str, str]:
    """Kill a child with all that it started; what it had printed."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.communicate()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _write_log(log: Path, arguments: Sequence[str], ending: str, stdout: str, stderr: str) -> None:
    text = f"$ {' '.join(arguments)}\n# {ending}\n# stdout\n{stdout}\n# stderr\n{stderr}"
    with write_atomically(log) as temporary:
        temporary.write_text(text, encoding="utf-8")
