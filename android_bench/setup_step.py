"""One step of setting something up: a program as a list of arguments, with a time limit and its output in a log."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from edgesr.atomic import write_atomically
from edgesr.errors import DeviceError, MissingBackendError


def run_step(what: str, arguments: Sequence[str], log: Path, limit_s: float, cure: str) -> str:
    """What a program printed on stdout. `what` names the step in errors, `cure` is what to do where it fails.

    Raises `MissingBackendError` where the program is not there, `DeviceError` where it fails or runs past its limit;
    both name the log, which holds all that it printed.
    """
    try:
        child = subprocess.Popen(
            list(arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise MissingBackendError(f"{what}: {arguments[0]} cannot be started ({error.strerror}); {cure}") from error
    with child:
        try:
            stdout, stderr = child.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired as expired:
            _write_log(log, arguments, f"stopped after {limit_s:g} s", *_stop(child))
            raise DeviceError(f"{what} took more than {limit_s:g} s; {cure}; its output is in {log}") from expired
        except BaseException:
            _stop(child)
            raise
    _write_log(log, arguments, f"exit code {child.returncode}", stdout, stderr)
    if child.returncode:
        raise DeviceError(f"{what} failed: {_last_words(stdout, stderr)}; {cure}; its output is in {log}")
    return stdout


def _stop(child: subprocess.Popen[str]) -> tuple[str, str]:
    """Kill a child with all that it started; what it had printed."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.communicate()


def _last_words(stdout: str, stderr: str) -> str:
    """The first line that calls itself an error, else the last line."""
    lines = [line.strip() for line in (*stderr.splitlines(), *stdout.splitlines()) if line.strip()]
    errors = [line for line in lines if "error:" in line.lower() or line.startswith("E: ")]
    return (errors[:1] or lines[-1:] or ["it said nothing"])[0]


def _write_log(log: Path, arguments: Sequence[str], ending: str, stdout: str, stderr: str) -> None:
    text = f"$ {' '.join(arguments)}\n# {ending}\n# stdout\n{stdout}\n# stderr\n{stderr}"
    with write_atomically(log) as temporary:
        temporary.write_text(text, encoding="utf-8")
