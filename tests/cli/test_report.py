"""`edgesr report` and --report from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_every_command_that_measures_writes_its_page(
    run: Callable[..., Any], exported_once: Any, lr_and_hr: tuple[Path, Path], tmp_path: Path
) -> None:
    file = exported_once.manifest.folder / "spanv2_x2-int8.tflite"
    lr, hr = lr_and_hr
    commands = {
        "verify parity": (file, "--runner", "litert-xnnpack"),
        "verify quality": (file, "--lr", lr, "--hr", hr),
        "audit": (file, "--npu", "qualcomm-htp"),
        "bench": (file, "--size", "16x16", "--runs", "2", "--blocks", "1", "--no-memory"),
    }
    for command, arguments in commands.items():
        page = tmp_path / "pages here" / f"{command}.html"
        outcome = run(*command.split(), *arguments, "--json", "--report", page)
        (tmp_path / f"{command}.json").write_text(outcome.done())
        assert f"edgesr {command}</title>" in page.read_text(encoding="utf-8")
    sources = [file.parent, *(tmp_path / f"{command}.json" for command in commands)]
    plain = json.loads(run("report", *sources, "-o", tmp_path / "all.html", "--json").done())
    (row,) = [row for row in plain["files"] if row["quality"]]
    assert row["file"] == file.name and row["sha256"] and row["proven"] and plain["notes"] == []
    assert list(row["latency"]) == ["host, 16x16"] and "qualcomm-htp" in row["operators_on_cpu"]
    assert run("report", file.parent, "-o", tmp_path / "all.html", "--quiet").done() == ""


def test_a_failed_gate_still_leaves_its_page(
    run: Callable[..., Any], exported_once: Any, lr_and_hr: tuple[Path, Path], tmp_path: Path
) -> None:
    file, page = exported_once.manifest.folder / "spanv2_x2-int8.tflite", tmp_path / "quality.html"
    outcome = run("verify", "quality", file, "--lr", lr_and_hr[0], "--hr", lr_and_hr[1], "--max-drop", "-50", "-q",
                  "--report", page)  # fmt: skip
    assert outcome.code == 3 and page.is_file()


@pytest.mark.parametrize(("name", "words"), [("missing", "does not exist"), ("foreign.json", "is none of edgesr's")])
def test_what_is_no_export_and_no_output_is_refused(
    run: Callable[..., Any], tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / "foreign.json").write_text('{"a": 1}')
    assert words in run("report", tmp_path / name, "-o", tmp_path / "out.html").refused()
    assert not (tmp_path / "out.html").exists()


def test_a_page_that_cannot_be_written_is_refused(run: Callable[..., Any], exported_once: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    message = run("report", exported_once.manifest.folder, "-o", tmp_path / "taken" / "out.html").refused()
    assert "cannot write" in message
