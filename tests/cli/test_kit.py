"""`edgesr kit`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def folder(exported_once: Any) -> Path:
    return Path(exported_once.manifest.folder)


def test_it_says_what_was_written_and_what_was_left_out(run: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    out = run("kit", folder, "-o", tmp_path / "my kit").done()
    assert out.count(".tflite ") == 4 and out.count("left out: ") == 4
    assert out.endswith(f"17 files in {tmp_path / 'my kit'}; start at {tmp_path / 'my kit' / 'README.md'}\n")
    assert (tmp_path / "my kit" / "README.md").read_text().startswith("# Deployment kit\n")


def test_json_holds_the_contracts(run: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    file = next(folder.glob("*int8.tflite"))
    plain = json.loads(run("kit", file, "-o", tmp_path, "--json").done())
    (model,) = plain["models"]
    assert model["file"] == file.name and model["contract"]["zero_point"] == -128
    assert len(model["reach"]) == 4 and len(model["tile"]) == 2 and plain["left_out"] == []
    assert all((tmp_path / name).is_file() for name in plain["files"])
    assert run("kit", file, "-o", tmp_path, "--quiet").done() == ""


def test_what_cannot_be_loaded_is_refused_in_one_line(run: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    onnx = next(folder.glob("*.onnx"))
    assert "the loaders run LiteRT, which takes no .onnx file" in run("kit", onnx, "-o", tmp_path).refused()
    assert "does not exist" in run("kit", tmp_path / "nothing").refused()
