import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesr.artifact import load_manifest
from edgesr.cli.export import EFFORTS
from edgesr.quant.recipe import RECIPES
from edgesr.target import TARGETS

Run = Callable[..., Any]
ALL = [part for target in TARGETS for part in ("--target", target.name)]


@pytest.fixture
def small(run: Run, small_checkpoint: Path, photos: Path) -> Run:
    """`edgesr export` of the small network, calibrated on few pictures."""
    return lambda *arguments: run("export", small_checkpoint, "--calib", photos, *arguments)


def test_one_command_exports_every_target_and_sums_it_up(small: Run, tmp_path: Path) -> None:
    out = tmp_path / "with space" / "größe"
    lines = small(*ALL, "-o", out).done().splitlines()
    assert lines[0].split("  ")[0] == "file" and set(lines[1]) <= {"-", " "}
    rows = {line.split()[0]: line for line in lines[2 : 2 + len(TARGETS)]}
    assert list(rows) == [f"spanv2_x2-{target.precision.value}.{target.format.value}" for target in TARGETS]
    for target, row in zip(TARGETS, rows.values(), strict=True):
        assert target.runners[0] in row and "KB" in row and "within limits" in row
        assert ("PSNR" in row) == target.precision.is_integer == ("error" not in row)
    assert lines[len(TARGETS) + 3] == f"Written to '{out}', beside manifest.json. Next:"
    assert [line.partition("  #")[0].strip() for line in lines[len(TARGETS) + 4 :]] == [
        f"edgesr verify parity '{out}'",
        f"edgesr bench '{out}'",
    ]
    assert {path.name for path in out.iterdir()} == {*rows, "manifest.json", "report.html", "reference"}


def test_json_holds_what_the_manifest_holds(small: Run, tmp_path: Path) -> None:
    plain = json.loads(small("-t", "tflite-int8", "-t", "onnx-fp32", "--json", "-o", tmp_path / "out").done())
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert plain == {"out": str(tmp_path / "out"), "artifacts": manifest["artifacts"]}
    artifact = plain["artifacts"][0]
    assert set(artifact) == {"file", "target", "sha256", "size_bytes", "contract", "reference", "graph", "facts"}
    assert set(artifact["contract"]) == {
        "dtype", "layout", "channels", "upscale", "value_range", "sizes", "any_size", "size_multiple", "host_shuffle",
        "scale",
        "zero_point",
    }  # fmt: skip
    assert set(artifact["facts"]) == {
        "created", "versions", "model", "folds", "graph", "npu", "quantization", "parity", "lock",
    }  # fmt: skip
    assert artifact["sha256"] == hashlib.sha256((tmp_path / "out" / artifact["file"]).read_bytes()).hexdigest()


def test_quiet_prints_nothing(small: Run, tmp_path: Path) -> None:
    assert small("-t", "onnx-fp32", "--quiet", "-o", tmp_path).done() == ""
    assert small("-t", "tflite-fp16", "-q", "-o", tmp_path).done() == ""
    assert len(load_manifest(tmp_path).artifacts) == 2


def test_paths_may_be_relative_to_any_folder(
    small: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, small_checkpoint: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(small_checkpoint, "w.pth")
    run("export", "w.pth", "-t", "onnx-fp32", "-q", "-o", ".").done()
    run("export", "--weights", "./w.pth", "-t", "onnx-fp32", "-t", "onnx-fp32", "-q", "-o", "./b c").done()
    run("export", "spanv2_x2", "--weights", "w.pth", "-t", "tflite-fp32", "-q", "-o", "b c").done()
    assert run("verify", "parity", "b c", "--runner", "onnxruntime", "-q").done() == ""
    assert {path.name for path in tmp_path.iterdir()} == {
        "w.pth", "manifest.json", "report.html", "reference", "spanv2_x2-fp32.onnx", "b c",
    }  # fmt: skip
    os.chdir("b c")
    assert "fp32.onnx" in run("verify", "parity", "spanv2_x2-fp32.onnx").done()


def test_options_reach_the_files(small: Run, tmp_path: Path) -> None:
    small("-t", "tflite-int8", "--io", "uint8", "--size", "24x40", "--size", "16X16", "-q", "-o", tmp_path).done()
    small("-t", "onnx-int8", "--io", "int8", "--layout", "nchw", "--size", "24x40", "-q", "-o", tmp_path).done()
    tflite, onnx = (artifact.contract for artifact in load_manifest(tmp_path).artifacts)
    assert (tflite.dtype.value, tflite.sizes, tflite.any_size) == ("uint8", ((24, 40), (16, 16)), True)
    assert (onnx.dtype.value, onnx.layout.value, onnx.sizes, onnx.any_size) == ("int8", "nchw", ((24, 40),), False)


def test_huge_sizes_end_soon_and_say_what_was_measured(small: Run, run: Run, tmp_path: Path) -> None:
    assert "within limits" in small("-t", "onnx-fp32", "--size", "4000x6000", "-o", tmp_path).done()
    assert ", small copy " in run("verify", "parity", tmp_path).done()


def test_the_default_is_an_int8_tflite_file_of_the_bundled_model(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from edgesr.api import exporting

    requests = []

    def note(request: Any, progress: Any) -> Any:
        requests.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "export", note)
    assert run("export", "-o", tmp_path).code == run("export", "spanv2_x4", "-o", tmp_path).code == 1
    assert [target.name for target in requests[0].targets] == ["tflite-int8"]
    assert (requests[0].model, requests[0].weights, requests[0].calibration) == (None, None, None)
    assert (requests[1].model, requests[1].effort) == ("spanv2_x4", RECIPES[0].name)


def test_efforts_are_the_recipes() -> None:
    assert tuple(recipe.name for recipe in RECIPES) == EFFORTS
