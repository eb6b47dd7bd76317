"""`edgesr audit` with the compilers that are installed."""

import importlib.util
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


@pytest.fixture
def foreign(foreign_int8_tflite: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(foreign_int8_tflite)
    return path


def test_compiled_and_table_stand_beside_each_other_and_the_gate_counts_the_compiler(run: Run, foreign: Path) -> None:
    outcome = run("audit", foreign, "--npu", "ethos-u65", "--fail-on", "cpu")
    assert outcome.code == 3
    assert outcome.err == (
        f"edgesr: {foreign}: 1 operators fail --fail-on cpu on ethos-u65; apply the remedies that edgesr audit prints\n"
    )
    rows = [line.split() for line in outcome.out.splitlines() if line.startswith("ethos-u65 ")]
    assert [row[1:6] for row in rows] == [["compiled", "6", "1", "0", "2"], ["table", "6", "1", "0", "2"]]
    assert rows[0][-2:] == ["for", "ethos-u65-512"], "which member of the family was compiled for"
    assert "On the CPU (compiled):\n  ethos-u65: RESIZE_BILINEAR (resized)\n" in outcome.out
    log = Path(outcome.out.rpartition("the compiler's log is ")[2].strip())
    assert "RESIZE_BILINEAR" in log.read_text()


def test_a_clean_file_leaves_no_log_and_passes_the_gate(run: Run, exported_once: Any, tmp_path: Path) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-int8.tflite"
    output = run("audit", path, "--npu", "ethos-u85-256", "--fail-on", "cpu")
    assert output.code == 3 and "DEPTH_TO_SPACE (pixel_shuffle)" in output.out
    assert run("audit", path, "--npu", "google-tensor", "--fail-on", "cpu").done()
