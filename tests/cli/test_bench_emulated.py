"""Instruction counts of SPANV2 with the official weights are stored: no kernel or graph grows unseen."""

import json
from pathlib import Path
from typing import Any

import pytest

STORED = Path(__file__).parent.parent / "android_bench" / "data" / "spanv2_64x64.json"
"""Written by `edgesr bench OUT --device emulated -o FILE`, where OUT is what the test exports."""


@pytest.mark.device
@pytest.mark.timeout(900)
def test_the_official_network_executes_no_more_instructions_than_stored(
    run: Any, emulator: Any, shared: Path, tmp_path: Path
) -> None:
    weights, found = shared / "checkpoints" / "spanv2_x4_official.pth", tmp_path / "found.json"
    photographs = shared / "images" / "train_bsds500"
    options = (
        "-t",
        "tflite-int8",
        "-t",
        "tflite-fp32",
        "--size",
        "64x64",
        "--calib",
        photographs,
        "-o",
        tmp_path / "out",
        "-q",
    )
    run("export", "--weights", weights, *options).done()
    run("bench", tmp_path / "out", "--device", "emulated", "-o", found, "-q").done()
    results = json.loads(found.read_text())["results"]
    assert [result["name"] for result in results] == ["spanv2_x4-int8.tflite", "spanv2_x4-fp32.tflite"]
    for result in results:
        assert result["parity"]["equal"] and len(set(result["instructions"])) == 1 and result["n"] == 3
    compared = run("bench", "compare", STORED, found, "--fail-on", "slower", "--json")
    assert compared.code == 0, compared.err
    rows = json.loads(compared.out)["results"]
    assert [row["verdict"] in ("no difference seen", "faster") for row in rows] == [True, True], rows


def test_the_gate_closes_when_a_count_grows(run: Any, tmp_path: Path) -> None:
    grown = json.loads(STORED.read_text())
    for result in grown["results"]:
        result["instructions"] = [count + count // 1000 for count in result["instructions"]]
    (tmp_path / "grown.json").write_text(json.dumps(grown))
    assert run("bench", "compare", STORED, tmp_path / "grown.json", "--fail-on", "slower").code == 3
    assert run("bench", "compare", STORED, STORED, "--fail-on", "slower").code == 0
