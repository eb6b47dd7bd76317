import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edgesr.images import load_rgb, save_png

Run = Callable[..., Any]


@pytest.fixture
def pair(photos: Path, tmp_path: Path) -> tuple[str | Path, ...]:
    """The options of a pair of folders, one image in each."""
    photo = load_rgb(sorted(photos.iterdir())[0])
    save_png(tmp_path / "HR" / "a.png", photo)
    save_png(tmp_path / "LR" / "ax2.png", photo[::2, ::2])
    return "--lr", tmp_path / "LR", "--hr", tmp_path / "HR"


def test_a_table_a_json_file_and_a_plot(
    run: Run, small_checkpoint: Path, pair: tuple[Any, ...], tmp_path: Path
) -> None:
    out, plot = tmp_path / "score.json", tmp_path / "score.svg"
    runs = ("--size", "8x12", "--runs", 1, "--warmup", 0, "--baseline", "small")
    lines = run("score", small_checkpoint, *pair, *runs, "-o", out, "--plot", plot).done().splitlines()
    assert lines[0].split("  ")[0] == "model" and lines[0].endswith("ratio  score") and "Y-PSNR dB" in lines[0]
    assert lines[2].startswith("small  spanv2_x2") and lines[2].endswith("1.000  7.389")
    assert any(line.startswith("PSNR: 1 images of ") and "2-pixel crop" in line for line in lines)
    assert any(line.startswith("runtime: median of 1 runs at 8x12, PyTorch eager float32, 1 thread") for line in lines)
    assert any("only 1 runs" in line for line in lines if line.startswith("warning: "))
    assert json.loads(out.read_text())["baseline"] == "small"
    assert ElementTree.fromstring(plot.read_text()).tag.endswith("svg")


def test_columns_that_nothing_was_measured_for_are_absent_and_it_is_said(run: Run, small_checkpoint: Path) -> None:
    said = run("score", small_checkpoint, "--runs", 0).done()
    header = said.splitlines()[0]
    assert "convs" in header and not any(word in header for word in ("PSNR", "runtime", "ratio", "score"))
    assert "note: no --lr and --hr were given" in said and "note: no run was timed" in said


def test_json_and_quiet(run: Run, small_checkpoint: Path) -> None:
    plain = json.loads(run("score", small_checkpoint, "--runs", 0, "--json").done())
    assert plain["models"][0]["complexity"]["size"] == [256, 256] and plain["models"][0]["score"] is None
    assert run("score", small_checkpoint, "--runs", 0, "--quiet").done() == ""


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        ((), 2, "Missing argument"),
        (("spanv2_x4", "--lr", "x"), 2, "--lr and --hr belong together"),
        (("spanv2_x4", "--plot", "x.svg"), 2, "--plot draws PSNR"),
        (("spanv2_x4", "--runs", "0", "--baseline", "spanv2_x4"), 2, "--baseline has no use with --runs 0"),
        (("spanv2_x4", "--size", "0x8"), 2, "is no size"),
        (("spanv2_x4", "--baseline", "span"), 1, "the baseline 'span' is none of the models"),
        (("spanv3_x4",), 1, "no bundled model is called 'spanv3_x4'"),
        (("gone.pth",), 1, "gone.pth"),
        (("spanv2_x4", "--lr", "gone", "--hr", "gone"), 1, "image folder not found: gone"),
    ],
)
def test_mistakes_end_in_one_line(run: Run, arguments: tuple[str, ...], code: int, why: str) -> None:
    assert why in run("score", *arguments).refused(code)
