"""`edgesr export --from`: what it prints, what it refuses, and its exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_other_bytes_are_exit_3(run: Run, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files, one of which the manifest has another sha256 of, by a torch that is another."""
    path = exported / "manifest.json"
    plain = json.loads(path.read_text())
    for artifact in plain["artifacts"]:
        if artifact["target"] == "onnx-fp32":
            artifact["sha256"] = "0" * 64
            artifact["facts"]["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(plain))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edgesr.toml").write_text('[export]\ntarget = "tflite-int8"\noutput = "elsewhere"\neffort = "best"\n')
    outcome = run("export", "--from", path, "-t", "onnx-fp32", "-t", "onnx-fp16", "-o", "again")
    assert outcome.code == 3
    assert f"{'spanv2_x2-fp32.onnx':<19}  DIFFERENT  000000000000" in outcome.out
    assert "1 of 2 files have the same bytes; they are in again" in outcome.out
    used, warning, complaint = outcome.err.splitlines()
    assert used == "configuration: edgesr.toml", "of which a rebuild takes no more than --json and --quiet"
    assert warning.startswith("warning: torch ") and warning.endswith(", was 1.0: other bytes may come out")
    assert complaint.startswith("edgesr: spanv2_x2-fp32.onnx came out with sha256 ")
    assert "was 1.0; install those versions to have the same" in complaint
    assert {path.name for path in (tmp_path / "again").glob("*.onnx")} == {"spanv2_x2-fp32.onnx", "spanv2_x2-fp16.onnx"}


MISUSED = [
    (("--effort", "best"), "--effort has no use: the locks of"),
    (("--set", "effort=best"), "--effort has no use"),
    (("--size", "8x8"), "--size has no use"),
    (("--init", "{}"), "--init has no use"),
    (("--explain",), "--explain has no use"),
    (("-t", "tflite-int7"), "no target is called 'tflite-int7'"),
]


@pytest.mark.parametrize(("arguments", "words"), MISUSED, ids=lambda value: str(value)[:30])
def test_options_that_the_locks_answer(run: Run, exported_once: Any, arguments: tuple[str, ...], words: str) -> None:
    assert words in run("export", "--from", exported_once.manifest.folder, *arguments).refused(2)


def test_manifests_that_cannot_be_rebuilt(run: Run, exported: Path, tmp_path: Path) -> None:
    assert "does not exist" in run("export", "--from", tmp_path / "none.json").refused()
    path = exported / "manifest.json"
    plain = json.loads(path.read_text())
    for artifact in plain["artifacts"]:
        del artifact["facts"]["lock"]
    path.write_text(json.dumps(plain))
    assert "has no lock in its manifest" in run("export", "--from", path).refused()
    path.write_text("{}")
    assert "is no edgesr manifest" in run("export", "--from", exported).refused()
