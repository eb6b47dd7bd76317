"""A program as a child process: a list of arguments, a time limit, and all that it prints in a log.

Compilers and installers crash, hang and print from C; nothing of that may reach edgesr's own process or get lost.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgesr.atomic import write_atomically


@dataclass(frozen=True)
class Ended:
    """How a program ended: its code (negative: the signal that killed it, None: stopped at the limit), its output."""

    code: int | None
    stdout: str
    stderr: str


def run_program(
    arguments: Sequence[str], log: Path, time_limit_s: float, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run a program to its end or to the limit, with `environment` added to this process's; its output goes to `log`.

    At the limit and on any exception it is killed with all that it started. Raises `OSError` where it cannot start.
    """
    child = subprocess.Popen(
        list(arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        errors="replace", env={**os.environ, **(environment or {})}, start_new_session=True,
    )  # fmt: skip
    with child:
        try:
            stdout, stderr = child.communicate(timeout=time_limit_s)
            ended = Ended(child.returncode, stdout, stderr)
        except subprocess.TimeoutExpired:
            ended = Ended(None, *_stop(child))
        except BaseException:
            _stop(child)
            raise
    ending = f"stopped after {time_limit_s:g} s" if ended.code is None else f"exit code {ended.code}"
    _write_log(log, arguments, ending, ended)
    return ended


def signal_name(number: int) -> str:
    """What a signal is called."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _stop(child: subprocess.Popen[str]) -> tuple[str, str]:
    """Kill a child with all that it started; what it had printed."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.communicate()


def _write_log(log: Path, arguments: Sequence[str], ending: str, ended: Ended) -> None:
    text = f"$ {' '.join(arguments)}\n# {ending}\n# stdout\n{ended.stdout}\n# stderr\n{ended.stderr}"
    with write_atomically(log) as temporary:
        temporary.write_text(text, encoding="utf-8")
