"""A vendor's compiler as a child process: what it said, and why it failed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.errors import ExportError
from edgesr.program import run_program, signal_name


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
            return f"{self.tool} died of {signal_name(-self.code)}"
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
        ended = run_program(arguments, log, time_limit_s, environment)
    except OSError as error:
        raise ExportError(f"{tool} cannot be started: {error.strerror}; reinstall it") from error
    if ended.code is None:
        raise ExportError(
            f"{tool} ran past {time_limit_s:g} s and was stopped; try a smaller image size or a longer limit; "
            f"its output is in {log}"
        )
    return ChildResult(tool, ended.code, ended.stdout, ended.stderr, log)
