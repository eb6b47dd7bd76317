"""One step of setting something up: a program as a list of arguments, with a time limit and its output in a log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgesr.errors import DeviceError, MissingBackendError
from edgesr.program import run_program


def run_step(what: str, arguments: Sequence[str], log: Path, limit_s: float, cure: str) -> str:
    """What a program printed on stdout. `what` names the step in errors, `cure` is what to do where it fails.

    Raises `MissingBackendError` where the program is not there, `DeviceError` where it fails or runs past its limit;
    both name the log, which holds all that it printed.
    """
    try:
        ended = run_program(arguments, log, limit_s)
    except OSError as error:
        raise MissingBackendError(f"{what}: {arguments[0]} cannot be started ({error.strerror}); {cure}") from error
    if ended.code is None:
        raise DeviceError(f"{what} took more than {limit_s:g} s; {cure}; its output is in {log}")
    if ended.code:
        raise DeviceError(f"{what} failed: {_last_words(ended.stdout, ended.stderr)}; {cure}; its output is in {log}")
    return ended.stdout


def _last_words(stdout: str, stderr: str) -> str:
    """The first line that calls itself an error, else the last line."""
    lines = [line.strip() for line in (*stderr.splitlines(), *stdout.splitlines()) if line.strip()]
    errors = [line for line in lines if "error:" in line.lower() or line.startswith("E: ")]
    return (errors[:1] or lines[-1:] or ["it said nothing"])[0]
