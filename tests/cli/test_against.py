"""`edgesr verify quality --against`: other tools in the same table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesr.export.peers.aimet import Aimet
from edgesr.export.peers.litert_torch import LiteRTTorch
from edgesr.export.peers.onnxruntime import OnnxRuntime
from edgesr.export.peers.torch_onnx import export_float_onnx

Run = Callable[..., Any]
GONE = ("no-such-distribution",)


@pytest.fixture
def arguments(exported_once: Any, lr_and_hr: tuple[Path, Path]) -> tuple[object, ...]:
    lr, hr = lr_and_hr
    return "verify", "quality", exported_once.manifest.folder / "spanv2_x2-int8.onnx", "--lr", lr, "--hr", hr


@pytest.fixture
def _others_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """litert-torch and aimet are not installed, whatever this environment has."""
    monkeypatch.setattr(LiteRTTorch, "distributions", GONE)
    monkeypatch.setattr(Aimet, "distributions", GONE)


@pytest.mark.usefixtures("_others_missing")
def test_one_table_of_our_files_and_the_peers(run: Run, arguments: tuple[object, ...], photos: Path) -> None:
    lines = run(*arguments, "--against", "litert-torch,onnxruntime,aimet").done().splitlines()
    rows = [line.split("  ")[0] for line in lines[2 : lines.index("")]]
    assert rows[:2] == ["PyTorch FP32", "spanv2_x2-int8.onnx"]
    assert rows[2] == 'litert-torch not installed: pip install "edgesr[litert-torch]"'
    assert rows[3].startswith("onnxruntime 1.") and rows[4] == 'aimet not installed: pip install "edgesr[aimet]"'
    figures = lines[5].split()
    assert figures[2] == "onnxruntime" and len(figures) == 7 and figures[-1][0] in "+-"
    assert any(line.endswith("percentile 99.99, x64quantprecision=1") for line in lines)
    assert lines[-1] == f"peers calibrated on 3 images, {photos}"


@pytest.mark.usefixtures("_others_missing")
def test_peers_as_json(run: Run, arguments: tuple[object, ...], photos: Path) -> None:
    plain = json.loads(run(*arguments, "--against", "aimet,onnxruntime", "--calib", photos, "--json").done())
    assert set(plain) == {"results", "calibration", "peers"} and plain["calibration"] == str(photos)
    absent, present = plain["peers"]
    assert absent["installed"] is False and absent["drop_db"] is None and "pip install" in absent["why_not"]
    assert present["peer"] == "onnxruntime" and present["quality"]["n"] == 3 and present["why_not"] is None


@pytest.mark.usefixtures("_others_missing")
def test_none_installed(run: Run, arguments: tuple[object, ...]) -> None:
    message = run(*arguments, "--against", "litert-torch,aimet").refused()
    assert message == (
        'none of the peers is installed (litert-torch, aimet); run pip install "edgesr[litert-torch]", or pip install '
        '"edgesr[aimet]"'
    )


def test_a_peer_that_fails_is_a_row_and_a_line(
    run: Run, arguments: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise RuntimeError("cannot convert\n  in a hundred lines")

    monkeypatch.setitem(OnnxRuntime.quantize.__globals__, export_float_onnx.__name__, fail)
    output = run(*arguments, "--against", "onnxruntime").done()
    (row,) = (line for line in output.splitlines() if " failed " in line)
    assert row.split()[2:] == ["failed", "-", "-", "-", "-", "-"]
    (line,) = (line for line in output.splitlines() if "cannot convert" in line)
    assert line.endswith(": RuntimeError: cannot convert") and "hundred" not in output


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("onnx", "no peer is called 'onnx'; did you mean onnxruntime?"),
        ("onnxruntime,qqq", "no peer is called 'qqq'; choose from litert-torch, onnxruntime, aimet"),
        ("", "no peer is called ''; choose from"),
    ],
)
def test_unknown_names(run: Run, arguments: tuple[object, ...], names: str, words: str) -> None:
    assert words in run(*arguments, "--against", names).refused(2)


def test_calibration_images_are_for_peers_alone(run: Run, arguments: tuple[object, ...], photos: Path) -> None:
    assert "--calib calibrates the peers of --against" in run(*arguments, "--calib", photos).refused(2)


def test_the_gate_judges_our_files_not_the_peers(run: Run, arguments: tuple[object, ...]) -> None:
    outcome = run(*arguments, "--against", "onnxruntime", "--max-drop", "-50")
    assert outcome.code == 3 and "spanv2_x2-int8.onnx in onnxruntime drops" in outcome.err
