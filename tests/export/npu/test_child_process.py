"""Compilers that crash, hang, print rubbish and start children of their own."""

import sys
import time
from pathlib import Path

import pytest

from edgesr.errors import ExportError
from edgesr.export.npu.child_process import log_name, run_child


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_a_child_prints_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "new" / "x.log"
    code = "import sys, os; print('out', os.environ['ADDED']); print('err', file=sys.stderr); sys.exit(3)"
    result = run_child("tool", python(code), log, 30, {"ADDED": "value"})
    assert (result.code, result.stdout, result.stderr) == (3, "out value\n", "err\n")
    assert result.cause == "tool ended with code 3: err"
    text = log.read_text()
    assert all(part in text for part in ("out value", "err", "exit code 3", sys.executable))


def test_a_signal_has_a_name(tmp_path: Path) -> None:
    result = run_child("tool", python("import os; os.kill(os.getpid(), 11)"), tmp_path / "x.log", 30)
    assert result.cause == "tool died of SIGSEGV"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'\xff\xfe\n'); sys.exit(1)"
    assert run_child("tool", python(code), tmp_path / "x.log", 30).cause.startswith("tool ended with code 1: ")


def test_silence(tmp_path: Path) -> None:
    assert run_child("tool", python("exit(2)"), tmp_path / "x.log", 30).cause.endswith("it said nothing")


def test_a_hang_ends_with_all_that_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; print('begun', flush=True);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); time.sleep(60)"
    )
    started, log = time.monotonic(), tmp_path / "x.log"
    with pytest.raises(ExportError, match=r"^tool ran past 1\.5 s and was stopped; .*x\.log$"):
        run_child("tool", python(code), log, 1.5)
    assert time.monotonic() - started < 20, "a grandchild that held the pipe was waited for"
    assert "begun" in log.read_text() and "stopped after 1.5 s" in log.read_text()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="tool cannot be started: No such file or directory"):
        run_child("tool", [str(tmp_path / "nothing")], tmp_path / "x.log", 30)


def test_log_names_are_safe() -> None:
    assert log_name("a/../b c.tflite", "vela") == "b-c.vela.log"
