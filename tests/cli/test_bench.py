import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from edgesr.runtime.bench_record import read_record
from edgesr.target import TARGETS

Run = Callable[..., Any]


def test_a_folder_is_timed_in_one_table(run: Run, exported_once: Any) -> None:
    folder = exported_once.manifest.folder
    output = run(
        "bench", folder, "--size", "16x20", "--runs", "2", "--warmup", "0", "--no-memory", "--blocks", "1"
    ).done()
    lines = output.splitlines()
    header = "file runner threads median ms p90 ms min ms runs ratio load ms output"
    assert " ".join(lines[0].split()) == header, "no column of memory, which was not measured"
    rows = [line.split() for line in lines[2 : 3 + len(TARGETS)]]
    assert rows[0][:4] == ["PyTorch", "eager", "spanv2_x2", "torch-float32"] and rows[0][8:10] == ["2", "1.00"]
    for row, target in zip(rows[1:], TARGETS, strict=True):
        assert row[1:3] == [target.runners[0], "1"] and row[6] == "2" and row[-1] == "dB"
        median, p90, fastest = map(float, row[3:6])
        assert fastest <= median <= p90
    assert lines[4 + len(TARGETS)].startswith("16x20 input, 1 thread, ")
    assert sum(line.startswith("warning: ") and "only 2 runs" in line for line in lines) == 1 + len(TARGETS)


def test_json_to_the_screen_and_to_a_file_are_the_same(run: Run, exported_once: Any, tmp_path: Path) -> None:
    path, out = exported_once.manifest.folder / "spanv2_x2-fp32.tflite", tmp_path / "new" / "bench.json"
    options = ("--size", "8x8", "--runs", "3", "--threads", "2", "--no-memory", "--blocks", "2")
    plain = json.loads(run("bench", path, *options, "--json", "-o", out).done())
    assert plain == json.loads(out.read_text()) == read_record(out).to_json()
    assert (plain["size"], plain["threads"], plain["device"]) == ([8, 8], 2, "host")
    for row in plain["results"]:
        assert row["block_lengths"] == [2, 1], "two processes"
        assert len(row["latencies_ms"]) == row["n"] == 3 and row["warmups"] == 5 and row["threads"] == 2
        assert row["ratio_to_torch"] == row["median_ms"] / plain["results"][0]["median_ms"]


def test_quiet_still_writes_the_files(run: Run, exported_once: Any, tmp_path: Path) -> None:
    path, out, plot = exported_once.manifest.folder / "spanv2_x2-fp32.onnx", tmp_path / "a.json", tmp_path / "a.svg"
    options = ("--size", "8x8", "--runs", "1", "--no-memory", "-q")
    assert run("bench", "--device", "host", *options, path, "-o", out, "--plot", plot).done() == ""
    assert len(json.loads(out.read_text())["results"]) == 2
    assert ElementTree.fromstring(plot.read_text()).tag.endswith("svg")


@pytest.mark.parametrize("written", [("--threads", "1,2"), ("--threads", "1", "--threads", "2")])
def test_several_numbers_of_threads(run: Run, exported_once: Any, written: tuple[str, ...]) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-fp32.onnx"
    lines = (
        run("bench", path, "--size", "8x8", "--runs", "2", "--no-memory", "--blocks", "1", *written).done().splitlines()
    )
    counts = [(line.split("torch-float32")[-1] if "torch" in line else line.split("runtime")[-1]).split()[0]
              for line in lines[2:6]]  # fmt: skip
    assert counts == ["1", "1", "2", "2"] and any(line.startswith("8x8 input, 1, 2 threads, ") for line in lines)


@pytest.mark.parametrize("threads", ["0", "1,,2", "two", "1,257"])
def test_what_is_no_number_of_threads_is_refused(run: Run, threads: str) -> None:
    message = run("bench", "x", "--threads", threads).refused(2)
    assert "threads" in message or "is not in the range 1<=x<=256" in message


def test_the_help_shows_both(run: Run) -> None:
    for arguments in (("--help",), ("-h",)):
        text = run("bench", *arguments).done()
        assert text.startswith("Usage: edgesr bench [OPTIONS] PATH\n") and "compare A.json B.json" in text
    assert run("bench", "compare", "--help").done().startswith("Usage: edgesr bench compare [OPTIONS] FIRST SECOND")
    assert "Missing argument 'PATH'" in run("bench").refused(2)


def test_a_file_called_compare_can_be_measured(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("bench", "./compare").refused().startswith("compare does not exist")
    assert "Missing argument 'FIRST'" in run("bench", "compare").refused(2)


def test_what_would_fill_the_machine_is_refused(run: Run, exported_once: Any) -> None:
    message = run("bench", exported_once.manifest.folder, "--size", "99999x99999").refused()
    assert message.startswith("a run at 99999x99999 may need ") and "give a smaller --size" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_one_line(run: Run, exported_once: Any) -> None:
    message = run("bench", exported_once.manifest.folder / "spanv2_x2-fp32.onnx", "--device", "CUDA").refused()
    assert message.startswith("torch-cuda cannot run: torch ") and "run this on a machine with an NVIDIA GPU" in message


@pytest.mark.parametrize("option", [("--threads", "2"), ("--blocks", "5"), ("--no-memory",), ("--adb", "adb")])
def test_options_that_a_gpu_has_no_use_for_are_refused(run: Run, option: tuple[str, ...]) -> None:
    message = run("bench", "x", "--device", "cuda", *option).refused(2)
    assert "has no use: --device cuda times the network on this machine's GPU" in message
