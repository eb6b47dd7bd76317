"""`edgesr compare`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def files(exported_once: Any) -> tuple[Path, Path]:
    folder = Path(exported_once.manifest.folder)
    return next(folder.glob("*int8.tflite")), next(folder.glob("*fp32.tflite"))


def test_one_table_with_the_differences_that_matter_marked(run: Callable[..., Any], files: tuple[Path, Path]) -> None:
    out = run("compare", *files).done()
    assert out.startswith(f"A: {files[0]}\nB: {files[1]}\n\n") and out.count("---  ") > 1
    lines = out.splitlines()
    assert any(line.startswith("!  contract") and "int8" in line and "float32" in line for line in lines)
    assert any(line.startswith("~  file       sha256") for line in lines)
    assert not any("upscale" in line for line in lines) and "lines are equal (--all)" in out
    assert "! matters, ~ differs" in out and "file: matters from 2% on" in out
    everything = run("compare", *files, "--all").done()
    assert "upscale" in everything and "(--all)" not in everything


def test_equal_files_have_nothing_to_show(run: Callable[..., Any], files: tuple[Path, Path]) -> None:
    assert run("compare", files[0], files[0]).done().splitlines()[-1].startswith("all ")


def test_json_has_plain_values_and_rules(run: Callable[..., Any], files: tuple[Path, Path]) -> None:
    plain = json.loads(run("compare", *files, "--json").done())
    (pair,) = plain["pairs"]
    assert pair["matter"] == sum(row["verdict"] == "matters" for row in pair["rows"]) > 5
    assert all(row["rule"] for row in pair["rows"]) and plain["alone"] == []
    assert run("compare", *files, "--quiet").done() == ""


def test_misuse_is_one_line(run: Callable[..., Any], files: tuple[Path, Path], tmp_path: Path) -> None:
    assert "--lr and --hr belong together" in run("compare", *files, "--lr", tmp_path).refused(2)
    assert "does not exist" in run("compare", files[0], tmp_path / "nothing").refused()
    assert "manifest.json does not exist" in run("compare", tmp_path, files[1]).refused()
