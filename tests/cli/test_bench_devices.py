"""`edgesr bench --device adb` over the stand-in for adb, with a program that answers as benchmark_model does."""

import json
from pathlib import Path
from typing import Any

import pytest

SAYS = """#!/bin/sh
echo "count=5 first=5100 curr=5000 min=4900 max=5200 avg=5050 std=12"
echo "Inference timings in us: Init: 18777, First inference: 6000, Warmup (avg): 5500, Inference (avg): 5050"
"""


@pytest.fixture
def arguments(local_adb: Any, work_folder: Path, exported: Path, tmp_path: Path) -> list[object]:
    """All that a measurement needs but the device."""
    program = tmp_path / "benchmark_model"
    program.write_text(SAYS)
    program.chmod(0o755)
    return ["bench", exported, "--adb", local_adb.binary, "--runner", program, "--size", "16x20", "--runs", 10]


def test_a_phones_table_and_record(run: Any, arguments: list[object], tmp_path: Path, work_folder: Path) -> None:
    out = tmp_path / "phone.json"
    shown = run(*arguments, "--device", "adb", "--plot", tmp_path / "plot.svg", "-o", out).done()
    assert "benchmark_model (xnnpack)" in shown and "5.05" in shown and "ran on" in shown
    assert "warning: " in shown and "means of some" in shown
    record = json.loads(out.read_text())
    assert record["device"] == "adb:PHONE1" and record["runs"] == 10
    assert record["results"][0]["runs_per_sample"] == [5] * 10, "ten blocks of its own count"
    assert record["environment"]["block_summaries"][record["results"][0]["name"]][0]["min_ms"] == 4.9
    assert (tmp_path / "plot.svg").read_text().startswith("<svg") and not work_folder.exists()


def test_json(run: Any, arguments: list[object]) -> None:
    assert json.loads(run(*arguments, "--device", "adb:PHONE1", "--json").done())["device"] == "adb:PHONE1"


def test_a_phone_that_cannot_be_measured_is_told_beside_the_others(
    run: Any, arguments: list[object], local_adb: Any, tmp_path: Path
) -> None:
    local_adb.set(devices=["PHONE1 device", "PHONE2 offline"])
    out = tmp_path / "all.json"
    outcome = run(*arguments, "--device", "ADB:ALL", "-o", out, "--quiet")
    assert outcome.code == 1 and "PHONE2 is offline; reconnect" in outcome.err and outcome.err.count("\n") == 1
    assert json.loads(out.read_text())["device"] == "adb:PHONE1"


def test_a_file_that_cannot_be_written_loses_nothing(run: Any, arguments: list[object], tmp_path: Path) -> None:
    outcome = run(*arguments, "--device", "adb", "-o", tmp_path / "benchmark_model" / "x.json")
    assert outcome.code == 1 and "5.05" in outcome.out
    assert outcome.err.count("\n") == 1 and "what was measured is in " in outcome.err
    assert json.loads(Path(outcome.err.rstrip().rpartition(" is in ")[2]).read_text())["device"] == "adb:PHONE1"


def test_an_error_names_the_log_and_keeps_nothing_half(
    run: Any, arguments: list[object], tmp_path: Path, work_folder: Path
) -> None:
    (tmp_path / "benchmark_model").write_text("#!/bin/sh\necho oops\nexit 3\n")
    out = tmp_path / "phone.json"
    message = run(*arguments, "--device", "adb", "-o", out).refused()
    assert "ended with code 3: oops" in message and ".log" in message
    assert not out.exists() and not work_folder.exists()


def test_partial_samples_are_written_and_named(run: Any, arguments: list[object], tmp_path: Path) -> None:
    (tmp_path / "benchmark_model").write_text(
        SAYS.replace(
            "#!/bin/sh\n", f"#!/bin/sh\necho >> {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) -gt 5 ] && exit 3\n"
        )
    )
    outcome = run(*arguments, "--device", "adb", "-o", tmp_path / "phone.json")
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    assert f"what was measured is in {tmp_path / 'phone.json'}" in outcome.err
    record = json.loads((tmp_path / "phone.json").read_text())
    assert all("ended with code 3" in result["problem"] for result in record["results"])


@pytest.mark.parametrize(
    ("changes", "words", "code"),
    [
        (("--device", "adb:"), "no device is called 'adb:'", 2),
        (("--device", "emulatd"), "no device is called 'emulatd'; choose emulated", 2),
        (("--device", "adb", "--against-unfolded"), "--against-unfolded has no use: --device adb runs", 2),
        (("--device", "adb", "--no-memory"), "--memory has no use", 2),
        (("--device", "host"), "--adb has no use: --device host", 2),
        (("--device", "ethos-u85-1024"), "has no use: --device ethos-u85-1024 is estimated", 2),
        (("--device", "adb", "--threads", "1,2"), "--threads takes one number on a device", 2),
        (("--device", "adb", "--delegate", "qnm"), "no delegate is called 'qnm'; choose qnn", 1),
        (("--device", "adb", "--delegate", "qnn"), "needs libQnnTFLiteDelegate.so; give it with --library", 1),
        (("--device", "emulated"), "--runner has no use: instructions are counted", 2),
        (("--device", "adb", "--timeout", "0"), "0.0 is not in the range", 2),
        (("--device", "adb:PHONE9"), "adb sees no device 'PHONE9'", 1),
    ],
)
def test_bad_input_is_one_line(
    run: Any, arguments: list[object], changes: tuple[str, ...], words: str, code: int
) -> None:
    options = arguments[:-2] if "host" in changes or "ethos-u85-1024" in changes else arguments
    assert words in run(*options, *changes).refused(code)


def test_help_tells_of_phones(run: Any) -> None:
    shown = run("bench", "--help").done()
    for option in ("--device", "adb:SERIAL", "--runner", "--delegate", "--library", "--cool-down", "--affinity"):
        assert option in shown
