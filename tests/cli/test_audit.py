import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _tables_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever compilers are installed here: these tests are about the tables."""
    monkeypatch.setattr("edgesr.api.auditing.NPU_COMPILERS", ())


@pytest.fixture
def foreign(foreign_tflite: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(foreign_tflite)
    return path


def test_a_foreign_file_in_words(run: Run, foreign: Path) -> None:
    output = run("audit", foreign, "--npu", "snapdragon-8-elite", "--npu", "ethos-u85-1024").done()
    lines = output.splitlines()
    assert lines[0] == str(foreign)
    rows = [line.split() for line in lines if " table " in line]
    assert rows[0][:6] == ["SM8750", "table", "4", "3", "0", "1"] and "100" not in rows[0]
    assert rows[1][:6] == ["ethos-u85-1024", "table", "0", "7", "0", "0"]
    assert "  SM8750: RESHAPE x2, TRANSPOSE (split, turned, output)" in lines
    assert "    rank limit: rank is 6, above 5" in lines
    assert any(line.startswith("    remedy: a pixel shuffle in pieces: export with edgesr") for line in lines)
    assert "On the CPU (table):" in lines and not any("compiled" in line for line in lines)


def test_a_whole_file_says_so(run: Run, exported_once: Any) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-int8.tflite"
    output = run("audit", path, "--npu", "SM8550", "--fail-on", "cpu").done()
    (row,) = [line for line in output.splitlines() if line.startswith("SM8550")]
    assert "100 %" in row and "On the CPU" not in output and "Unknown" not in output


def test_unknown_is_never_whole(run: Run, exported_once: Any) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-int8.tflite"
    output = run("audit", path, "--npu", "tensor-g5", "--fail-on", "cpu").done()
    assert "100 %" not in output and "Unknown (table):" in output


def test_the_gate_exits_3_after_the_report(run: Run, foreign: Path) -> None:
    outcome = run("audit", foreign, "--npu", "SM8750", "--fail-on", "cpu")
    assert outcome.code == 3 and "RESHAPE x2" in outcome.out
    assert outcome.err == (
        f"edgesr: {foreign}: 3 operators fail --fail-on cpu on SM8750; apply the remedies that edgesr audit prints\n"
    )
    outcome = run("audit", foreign, "--fail-on", "cpu", "-q")
    assert outcome.code == 3 and outcome.out == "" and "more networks or NPUs" in outcome.err


def test_json(run: Run, foreign: Path) -> None:
    plain = json.loads(run("audit", foreign, "--json").done())
    npus = plain["subjects"][0]["npus"]
    assert len(npus) == 8
    for npu in npus:
        for placement in npu["placements"]:
            assert sum(placement["counts"].values()) == len(placement["operators"]) == 7


def test_a_model_before_and_after_the_folds(run: Run, small_checkpoint: Path) -> None:
    output = run("audit", small_checkpoint, "--npu", "qualcomm", "--npu", "ethos-u85").done()
    after, before = output.split("as captured")
    assert "On the CPU" not in after and after.count("100 %") == 2
    assert "left to the host" in after and "no file was written" in after
    assert "RESHAPE x2, TRANSPOSE (pixel_shuffle.split, pixel_shuffle.turned, pixel_shuffle)" in before
    assert run("audit", small_checkpoint, "--npu", "qualcomm", "--fail-on", "cpu", "-q").done() == ""


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 40, b"hello world, no model"])
@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_what_is_no_file_is_one_line(run: Run, content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(content)
    assert str(path) in run("audit", path).refused()


def test_names_that_mean_nothing(run: Run, foreign: Path) -> None:
    assert "choose SM8750 (Snapdragon 8 Elite) or " in run("audit", foreign, "--npu", "SM8751").refused()
    assert "no bundled model is called 'nothing'" in run("audit", "nothing").refused()
    assert "see edgesr audit --help" in run("audit", foreign, "--fail-on", "gpu").refused(2)
