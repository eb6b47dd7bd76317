import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

import edgesr.cli


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and all that went to the two streams, native code included."""

    code: int
    out: str
    err: str

    def refused(self, code: int = 1) -> str:
        """The message of a command that failed as it should: one line on stderr that says what to do."""
        assert self.code == code, (self.code, self.out, self.err)
        assert self.out == "" and self.err.endswith("\n") and self.err.count("\n") == 1, (self.out, self.err)
        assert self.err.startswith("edgesr: ") and "; " in self.err, self.err
        return self.err.removeprefix("edgesr: ").rstrip("\n")

    def done(self) -> str:
        """The output of a command that succeeded and said nothing on stderr."""
        assert (self.code, self.err) == (0, ""), (self.code, self.err)
        return self.out


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `edgesr` with these arguments in this process."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["edgesr", *map(str, arguments)])
        capfd.readouterr()
        code = edgesr.cli._run()
        return Outcome(code, *capfd.readouterr())

    return call
