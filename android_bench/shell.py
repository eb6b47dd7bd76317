"""Running programs on a device: argument lists in, exit code and both output streams out.

A shell here takes a list of arguments, never a line of text: what a user typed reaches the device as one argument.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

DEFAULT_LIMIT_S = 30.0
NOT_FOUND = 127


@dataclass(frozen=True)
class Completed:
    """How a program on the device ended. Where the device cannot tell the streams apart, all is in `stdout`."""

    code: int
    stdout: str
    stderr: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether it ended with code 0."""
        return self.code == 0

    @property
    def last_words(self) -> str:
        """The last line that says something, for errors."""
        lines = [line.strip() for text in (self.stderr, self.stdout) for line in reversed(text.splitlines())]
        return next((line for line in lines if line), "it said nothing")


class Shell(Protocol):
    """A way to run a program on a device."""

    def run(self, arguments: Sequence[str], time_limit_s: float = DEFAULT_LIMIT_S) -> Completed:
        """Run a program to its end; raises `DeviceError` where the device cannot, or not within the limit."""


@dataclass(frozen=True)
class ScriptedShell:
    """A fake: answers known command lines (arguments joined by spaces), and code 127 to all others."""

    answers: Mapping[str, str | Completed]

    def run(self, arguments: Sequence[str], time_limit_s: float = DEFAULT_LIMIT_S) -> Completed:
        """The scripted answer."""
        answer = self.answers.get(" ".join(arguments))
        if answer is None:
            return Completed(NOT_FOUND, "", f"{arguments[0]}: not found")
        return answer if isinstance(answer, Completed) else Completed(0, answer)


def quoted(arguments: Sequence[str]) -> str:
    """One line for a POSIX shell that gives exactly these arguments to the program: adb has no other way."""
    return " ".join(shlex.quote(argument) for argument in arguments)
