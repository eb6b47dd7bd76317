import io
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgesr.cli
from edgesr.api import exporting, verifying
from edgesr.cli import console
from edgesr.cli.console import clear_line, print_json, print_table, progress_bar
from edgesr.errors import ExportError
from edgesr.progress import silent

Run = Callable[..., Any]


class Terminal(io.StringIO):
    """A terminal without a size, whose one line is rewritten by a carriage return and cleared by an escape."""

    def isatty(self) -> bool:
        return True

    def screens(self) -> list[str]:
        """What stood in the last line after each write."""
        shown = []
        for part in self.getvalue().split("\r\033[K")[1:]:
            assert "\033" not in part and "\r" not in part
            shown.append(part)
        return shown


@pytest.fixture
def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Make stderr a terminal: to be called in the test itself, whose streams pytest sets after its fixtures."""

    def call() -> Terminal:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        return terminal

    return call


Open = Callable[[], Terminal]


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_a_bar_shows_at_once_and_leaves_nothing(open_terminal: Open) -> None:
    terminal = open_terminal()
    with progress_bar(quiet=False) as progress:
        assert terminal.screens() == ["[........................] 0/1  starting"]
        progress("calibrating", 0, 4)
        progress("calibrating", 1, 4)
        progress("calibrating", 4, 4)
    assert terminal.screens()[1:] == [
        "[........................] 0/4  calibrating",
        "[######..................] 1/4  calibrating",
        "[########################] 4/4  calibrating",
        "",
    ]


def test_a_bar_says_how_many_pictures_a_second_are_done(open_terminal: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal()
    clock = Clock(monkeypatch)
    with progress_bar(quiet=False) as progress:
        progress("images", 0, 10)
        clock.now += 2
        progress("images", 5, 10)
        clear_line()
        progress("images", 10, 10)
    shown = terminal.screens()
    assert shown[2].endswith(" 5/10, 2.5 images/s, 2 s left  images")
    assert shown[-2].endswith(" 10/10, 5 images/s  images") and "" in shown[3:-2]


def test_a_bar_guesses_the_time_left_after_a_second(open_terminal: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal()
    clock = Clock(monkeypatch)
    with progress_bar(quiet=False) as progress:
        progress("benchmark", 0, 10)
        clock.now += 0.9
        progress("benchmark", 1, 10)
        clock.now += 1.1
        progress("benchmark", 4, 10)
        clock.now += 8
        progress("parity", 0, 2)
        progress("parity", 1, 2)
    shown = terminal.screens()
    assert shown[2].endswith(" 1/10  benchmark") and shown[3].endswith(" 4/10, 3 s left  benchmark")
    assert shown[5].endswith(" 1/2  parity"), "every stage has a clock of its own"


def test_a_line_longer_than_the_terminal_would_wrap_and_stay(
    open_terminal: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = open_terminal()
    with progress_bar(quiet=False) as progress:
        progress("x" * 200, 0, 1)
        assert len(terminal.screens()[-1]) == 79
        monkeypatch.setattr(console, "_columns", lambda stream: 30)
        progress("x" * 200, 0, 1)
        assert len(terminal.screens()[-1]) == 29


def test_no_bar_in_silence_or_without_a_terminal(open_terminal: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal()
    with progress_bar(quiet=True) as progress:
        assert progress is silent
    assert terminal.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bar(quiet=False) as progress:
        assert progress is silent


def run_on(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["edgesr", *map(str, arguments)])
    return edgesr.cli._run()


def test_an_export_shows_its_stages_and_leaves_an_empty_line(
    open_terminal: Open, monkeypatch: pytest.MonkeyPatch, small_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    terminal = open_terminal()
    arguments = ("export", small_checkpoint, "--calib", photos, "-o", tmp_path / "out")
    assert run_on(monkeypatch, *arguments) == 0
    screens = terminal.screens()
    stages = list(dict.fromkeys(screen.split("  ")[-1] for screen in screens if screen))
    assert stages[:3] == ["starting", "capturing the network", "reading calibration images"]
    assert {"calibrating", "writing tflite-int8", "parity spanv2_x2-int8.tflite"} <= set(stages)
    assert screens[-1] == ""


def test_an_error_stands_on_a_line_of_its_own(
    open_terminal: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    terminal = open_terminal()
    assert run_on(monkeypatch, "export", tmp_path / "none.pth", "-o", tmp_path / "out") == 1
    assert re.fullmatch(r"edgesr: .*none\.pth: no such weights file; check the path\n", terminal.screens()[-1])


def test_tables_align(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "n"), [("a", "1"), ("longer", "200")], right=(1,))
    assert capsys.readouterr().out.splitlines() == ["name      n", "------  ---", "a         1", "longer  200"]


def test_numbers_that_json_has_none_for_are_words(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [float("inf"), {"b": float("nan")}], "c": -float("inf"), "d": 1.5, "e": None, "f": (1, 2)})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": ["inf", {"b": "nan"}], "c": "-inf", "d": 1.5, "e": None, "f": [1, 2]}


def test_every_command_has_a_short_help_that_is_not_cut(run: Run) -> None:
    for arguments in (("--help",), ("verify", "--help")):
        output = run(*arguments).done()
        assert "..." not in output.partition("Commands:")[2] and output.count("  ") > 3


def test_edgesr_alone_shows_its_help(run: Run) -> None:
    outcome = run()
    assert outcome.code == 2 and outcome.out == "" and outcome.err == run("--help").out


def test_version(run: Run) -> None:
    assert re.fullmatch(r"edgesr, version \d+\.\d+\.\d+\S*\n", run("--version").done())


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*arguments: object, **options: object) -> Any:
        raise error

    return fail


FAILURES: list[tuple[BaseException, str]] = [
    (KeyboardInterrupt(), "interrupted; finished files stay, none is half-written"),
    (MemoryError(), "out of memory; choose a smaller --size, or fewer or smaller images"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory; choose"),
    (OSError(5, "Input/output error", "/disk/a.pth"), "/disk/a.pth: Input/output error; check the path and the disk"),
    (ExportError("what\n  is wrong; do\tthis"), "what is wrong; do this"),
    (
        RuntimeError("first line\nsecond line"),
        "a defect in edgesr (RuntimeError: first line); report what EDGESR_TRACE",
    ),
    (AssertionError(), "a defect in edgesr (AssertionError: ); report what EDGESR_TRACEBACK=1 prints before this"),
]


@pytest.mark.parametrize(("error", "words"), FAILURES, ids=[type(error).__name__ for error, _ in FAILURES])
def test_every_failure_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException, words: str
) -> None:
    monkeypatch.setattr(exporting, "load_model", raising(error))
    assert run("export", "-o", tmp_path / "out").refused().startswith(words)
    assert not (tmp_path / "out").exists()


def test_a_defect_shows_its_traceback_on_demand(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(verifying, "locate", raising(RuntimeError("broken")))
    monkeypatch.setenv("EDGESR_TRACEBACK", "1")
    lines = run("verify", "parity", tmp_path).err.splitlines()
    assert lines[0].startswith("Traceback") and lines[-1].startswith(
        "edgesr: a defect in edgesr (RuntimeError: broken)"
    )
