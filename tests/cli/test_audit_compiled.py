"""`edgesr audit` with the compilers that are installed."""

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(
        importlib.util.find_spec("ethosu") is None, reason='Vela is not installed: pip install "edgesr[ethos-u]"'
    ),
]


@pytest.fixture(autouse=True)
def _logs_go_with_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def foreign(foreign_int8_tflite: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(foreign_int8_tflite)
    return path


def test_compiled_and_table_stand_beside_each_other_and_the_gate_counts_the_compiler(run: Run, foreign: Path) -> None:
    outcome = run("audit", foreign, "--npu", "ethos-u65", "--fail-on", "cpu")
    assert outcome.code == 3
    assert outcome.err == (
        f"edgesr: {foreign}: 1 operator fails --fail-on cpu on ethos-u65; apply the remedies that edgesr audit prints\n"
    )
    rows = [line.split() for line in outcome.out.splitlines() if line.startswith("ethos-u65 ")]
    assert [row[1:6] for row in rows] == [["compiled", "6", "1", "0", "2"], ["table", "6", "1", "0", "2"]]
    assert rows[0][-2:] == ["for", "ethos-u65-512"], "which member of the family was compiled for"
    assert "On the CPU (compiled):\n  ethos-u65: RESIZE_BILINEAR (resized)\n" in outcome.out
    log = Path(outcome.out.rpartition("the compiler's log is ")[2].strip())
    assert "RESIZE_BILINEAR" in log.read_text()


def test_what_was_exported_for_an_npu_passes_the_gate_and_leaves_no_log(
    run: Run, small_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    arguments = ("--weights", small_checkpoint, "--calib", photos, "--size", "16x24", "-o", tmp_path / "out", "-q")
    assert run("export", "--target", "ethos-u85-256", *arguments).code == 0
    output = run("audit", tmp_path / "out", "--fail-on", "cpu").done()
    assert "compiled for ethos-u85-256 from reference/" in output and "log" not in output
    rows = [line.split() for line in output.splitlines() if line.startswith("ethos-u85-256 ")]
    assert [row[1] for row in rows] == ["compiled", "table"] and all("100" in row for row in rows)


def test_what_a_table_does_not_know_is_not_listed_once_a_compiler_has_answered(
    run: Run, foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgesr.export.npu import table_verdict

    monkeypatch.setattr(table_verdict, "holds", lambda rule, op, setting: None)  # nobody can tell anything
    output = run("audit", foreign, "--npu", "ethos-u65").done()
    (row,) = [line.split() for line in output.splitlines() if " table " in line]
    assert int(row[4]) > 0 and "Unknown" not in output
    monkeypatch.setattr("edgesr.api.auditing.NPU_COMPILERS", ())
    assert "Unknown (table):" in run("audit", foreign, "--npu", "ethos-u65").done()
