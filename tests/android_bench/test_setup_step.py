import sys
import time
from pathlib import Path

import pytest

from edgesr.android_bench.setup_step import run_step
from edgesr.errors import DeviceError, MissingBackendError


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_it_printed_is_given_and_logged(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    said = run_step("a step", python("import sys; print('out'); print('err', file=sys.stderr)"), log, 60, "retry")
    assert said == "out\n"
    assert "exit code 0" in log.read_text() and "err" in log.read_text()


def test_a_failure_says_its_error_the_cure_and_the_log(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    code = "import sys; print('noise\\nx.c:3: error: no such thing\\nmore noise', file=sys.stderr); sys.exit(1)"
    with pytest.raises(DeviceError) as failure:
        run_step("compiling", python(code), log, 60, "install a compiler")
    words = f"compiling failed: x.c:3: error: no such thing; install a compiler; its output is in {log}"
    assert str(failure.value) == words
    assert "more noise" in log.read_text()


def test_silence_is_said(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="a step failed: it said nothing; retry; "):
        run_step("a step", python("raise SystemExit(3)"), tmp_path / "log", 60, "retry")


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingBackendError, match=r"^a step: no-such-program cannot be started .*; install it$"):
        run_step("a step", ["no-such-program"], tmp_path / "log", 60, "install it")


def test_a_hang_is_stopped_with_its_children(tmp_path: Path) -> None:
    start = time.monotonic()
    code = "import subprocess; print('begun', flush=True); subprocess.run(['sleep', '60'])"
    with pytest.raises(DeviceError, match=r"^a step took more than 1\.5 s; retry; its output is in "):
        run_step("a step", python(code), tmp_path / "log", 1.5, "retry")
    assert time.monotonic() - start < 30
    assert "begun" in (tmp_path / "log").read_text()
