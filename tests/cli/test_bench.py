import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgesr.target import TARGETS

Run = Callable[..., Any]


def test_a_folder_is_timed_in_one_table(run: Run, exported_once: Any) -> None:
    output = run("bench", exported_once.manifest.folder, "--size", "16x20", "--runs", "2", "--warmup", "0").done()
    lines = output.splitlines()
    assert lines[0].split("  ")[0] == "file" and lines[0].endswith("runs  ratio")
    rows = [line.split() for line in lines[2 : 3 + len(TARGETS)]]
    assert rows[0][:4] == ["PyTorch", "eager", "spanv2_x2", "torch-float32"] and rows[0][-2:] == ["2", "1.00"]
    for row, target in zip(rows[1:], TARGETS, strict=True):
        assert row[1] == target.runners[0] and row[-2] == "2"
        median, p90, fastest = map(float, row[2:5])
        assert fastest <= median <= p90
    assert lines[4 + len(TARGETS)].startswith("16x20 input, 1 thread(s), ")
    assert sum(line.startswith("warning: ") and "only 2 runs" in line for line in lines) == 1 + len(TARGETS)


def test_json_to_the_screen_and_to_a_file_are_the_same(run: Run, exported_once: Any, tmp_path: Path) -> None:
    path, out = exported_once.manifest.folder / "spanv2_x2-fp32.tflite", tmp_path / "new" / "bench.json"
    output = run("bench", path, "--size", "8x8", "--runs", "3", "--threads", "2", "--json", "-o", out).done()
    plain = json.loads(output)
    assert plain == json.loads(out.read_text())
    assert set(plain) == {"device", "emulated", "size", "threads", "environment", "results", "warnings"}
    assert (plain["size"], plain["threads"], plain["device"]) == ([8, 8], 2, "host")
    for row in plain["results"]:
        assert len(row["latencies_ms"]) == row["n"] == 3 and row["warmups"] == 5
        assert row["ratio_to_torch"] == row["median_ms"] / plain["results"][0]["median_ms"]


def test_quiet_still_writes_the_file(run: Run, exported_once: Any, tmp_path: Path) -> None:
    path, out = exported_once.manifest.folder / "spanv2_x2-fp32.onnx", tmp_path / "bench.json"
    assert run("bench", path, "--size", "8x8", "--runs", "1", "-q", "-o", out).done() == ""
    assert len(json.loads(out.read_text())["results"]) == 2


def test_what_would_fill_the_machine_is_refused(run: Run, exported_once: Any) -> None:
    message = run("bench", exported_once.manifest.folder, "--size", "99999x99999").refused()
    assert message.startswith("a run at 99999x99999 may need ") and "give a smaller --size" in message
