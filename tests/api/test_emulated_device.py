"""Benchmarks over the real adb on the emulated arm64 device: counted, as if it were a phone, and with every fault.

`make emulator-deps` installs what these need; without it they skip.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgesr.android_bench import workspace
from edgesr.android_bench.adb_messages import DeviceLostError
from edgesr.android_bench.delegates import find_delegate
from edgesr.android_bench.emulated.device import EmulatedDevice
from edgesr.android_bench.emulated.faults import Auth, Faults
from edgesr.android_bench.emulated.launcher import COUNTS, PRIVATE
from edgesr.android_bench.protocol import Protocol
from edgesr.api.device_benchmark import DeviceOptions, DeviceOutcome, bench_on_devices
from edgesr.api.device_programs import Program
from edgesr.api.devices import list_devices
from edgesr.artifact import load_manifest
from edgesr.errors import DeviceError, MissingBackendError
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.instruction_counts import InstructionCounts

pytestmark = pytest.mark.device
SIZE = (16, 20)
PROTOCOL = Protocol(runs=2, warmups=1, blocks=1, cool_down_s=0, time_limit_s=120)
OUTPUTS = Path(__file__).parent.parent / "android_bench" / "data" / "benchmark_model"
LEFT_LIMIT_S = 10.0
FLOAT_LIMIT = 1e-5
"""Sums of float kernels have another order on Arm for a network of so few channels."""


@pytest.fixture(scope="module")
def int8_file(exported_once: Any) -> Path:
    folder: Path = exported_once.manifest.folder
    return next(folder / a.file for a in load_manifest(folder).artifacts if a.target == "tflite-int8")


Opened = Callable[..., Any]


@pytest.fixture
def as_phone(emulator: type[EmulatedDevice], monkeypatch: pytest.MonkeyPatch) -> Opened:
    """`with as_phone(Faults(...)) as device:` the emulated device, seen by the adb of this process."""

    @contextmanager
    def opened(faults: Faults = Faults(), instructions: bool = False) -> Iterator[EmulatedDevice]:  # noqa: B008  # frozen
        with emulator(faults=faults, instructions=instructions) as device:
            for name, value in device.environment.items():
                monkeypatch.setenv(name, value)
            yield device
            assert nothing_is_left(device)

    return opened


def nothing_is_left(device: EmulatedDevice) -> bool:
    """Whether the work folder and every process went, within a moment."""
    deadline = time.monotonic() + LEFT_LIMIT_S
    folder = device.root / workspace.WORK_FOLDER.lstrip("/")
    while (folder.exists() and any(folder.iterdir())) or device.processes():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def measure(
    path: Path, device: EmulatedDevice | None, program: Program | None = None, protocol: Protocol = PROTOCOL
) -> DeviceOutcome:
    name = "adb" if device is None else f"adb:{device.serial}"
    (outcome,) = bench_on_devices(path, name, SIZE, DeviceOptions(protocol, program or Program()))
    return outcome


def script(folder: Path, name: str, lines: str) -> Program:
    """A program for the device's shell."""
    path = folder / name
    path.write_text(f"#!/system/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return Program(path)


def test_every_file_is_counted_and_its_bytes_are_this_machines(exported_once: Any, emulator: Any) -> None:
    (outcome,) = bench_on_devices(exported_once.manifest.folder, "emulated", SIZE)
    assert outcome.error is None and outcome.record is not None
    record = outcome.record
    assert record.emulated is not None and "qemu" in record.emulated
    assert {result.name for result in record.results} == {
        a.file for a in exported_once.artifacts if a.file.endswith(".tflite")
    }
    for result in record.results:
        assert isinstance(result, InstructionCounts)
        assert len(result.instructions) == 3 and result.repeats, result
        assert result.parity is not None
        if "int8" in result.name or "a16w8" in result.name:
            assert result.parity.equal, result
        else:
            assert result.parity.max_difference < FLOAT_LIMIT, result
    assert "ms" not in str(record.to_json()["results"]).replace("params", "")


def test_it_is_measured_as_a_phone_is(int8_file: Path, as_phone: Opened) -> None:
    with as_phone() as device:
        outcome = measure(int8_file, device)
        assert outcome.error is None and outcome.record is not None, outcome.error
        (result,) = outcome.record.results
        assert isinstance(result, Benchmark) and len(result.latencies_ms) == 2
        assert result.parity is not None and result.parity.equal
        assert any("this device is an emulator" in warning for warning in outcome.record.warnings)
        assert outcome.record.environment["device"]["abis"] == ["arm64-v8a"]  # type: ignore[index]  # JSON


@pytest.mark.parametrize("output", sorted(path.name for path in OUTPUTS.iterdir()))
def test_benchmark_model_of_each_generation(int8_file: Path, as_phone: Opened, tmp_path: Path, output: str) -> None:
    said = (OUTPUTS / output).read_text(encoding="utf-8")
    with as_phone() as device:
        outcome = measure(int8_file, device, script(tmp_path, "benchmark_model", f"cat <<'END'\n{said}END"))
        assert outcome.error is None and outcome.record is not None
        (result,) = outcome.record.results
        assert isinstance(result, Benchmark) and result.runs_per_sample in ((50,), (10,)) and result.parity is None
        assert any("parity is not checked" in warning for warning in outcome.record.warnings)


def test_a_delegate_that_took_nothing_is_an_error(int8_file: Path, as_phone: Opened, tmp_path: Path) -> None:
    line = "Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate."
    said = (OUTPUTS / "tensorflow-2.txt").read_text(encoding="utf-8")
    program = script(tmp_path, "benchmark_model", f"cat <<'END'\n{line}\n{said}END")
    with as_phone() as device:
        outcome = measure(int8_file, device, Program(program.path, find_delegate("nnapi")))
        assert outcome.record is None and "NNAPI delegate took no operator" in str(outcome.error)


def test_without_shell_v2_all_works(int8_file: Path, as_phone: Opened) -> None:
    with as_phone(Faults(shell_v2=False)) as device:
        outcome = measure(int8_file, device)
        assert outcome.error is None, outcome.error


def test_a_device_that_asks_and_trusts_works(int8_file: Path, as_phone: Opened) -> None:
    with as_phone(Faults(auth=Auth.ACCEPT)) as device:
        wait_for_state(device, "device")
        assert measure(int8_file, device).error is None


def wait_for_state(device: EmulatedDevice, state: str) -> None:
    deadline = time.monotonic() + 20
    while device.server.client("-s", device.serial, "get-state").strip() != state:
        if state not in ("device",) and state in device.server.client("devices"):
            return
        assert time.monotonic() < deadline, device.server.client("devices")
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("faults", "state", "words"),
    [
        (Faults(auth=Auth.REJECT), "unauthorized", "is unauthorized; unlock the phone and tap Allow"),
        (Faults(offline=True), "offline", "offline; reconnect it"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused(
    int8_file: Path, as_phone: Opened, faults: Faults, state: str, words: str
) -> None:
    with as_phone(faults) as device:
        wait_for_state(device, state)
        with pytest.raises(DeviceError, match=words):
            measure(int8_file, device)
        entry = next(entry for entry in list_devices() if entry.name == f"adb:{device.serial}")
        assert not entry.usable and entry.problem is not None and state in entry.problem


def test_two_devices_need_a_serial_and_can_be_measured_together(
    int8_file: Path, as_phone: Opened, emulator: type[EmulatedDevice]
) -> None:
    with as_phone() as first, emulator(instructions=False, beside=first) as second:
        with pytest.raises(DeviceError, match=r"2 devices are attached .*; choose one: --device adb:SERIAL"):
            measure(int8_file, None)
        outcomes = bench_on_devices(int8_file, "adb:all", SIZE, DeviceOptions(PROTOCOL))
        assert sorted(outcome.device for outcome in outcomes) == sorted(f"adb:{d.serial}" for d in (first, second))
        assert [outcome.error for outcome in outcomes] == [None, None]
        assert nothing_is_left(second)


def test_no_device_and_no_adb(int8_file: Path, as_phone: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with as_phone() as device:
        device.server.client("disconnect", device.serial)
        with pytest.raises(DeviceError, match="adb sees no device; connect one"):
            measure(int8_file, None)
        with pytest.raises(DeviceError, match=f"adb sees no device '{device.serial}'"):
            measure(int8_file, device)
        monkeypatch.setenv("PATH", "")
        with pytest.raises(MissingBackendError, match="adb is not installed"):
            measure(int8_file, None)


def test_a_device_that_drops_in_the_middle_keeps_its_samples(int8_file: Path, as_phone: Opened) -> None:
    with as_phone(Faults(drop_on_output='"event":"runs"')) as device:
        outcome = measure(int8_file, device, protocol=Protocol(runs=200, blocks=1, delay_ms=20, time_limit_s=120))
        assert isinstance(outcome.error, DeviceLostError), outcome.error
        assert "reconnect" in str(outcome.error)
        assert outcome.record is not None and all(r.problem for r in outcome.record.results)
        wipe(device)


def wipe(device: EmulatedDevice) -> None:
    """A lost device cannot be cleaned over adb; its processes must have gone all the same."""
    shutil.rmtree(device.root / workspace.WORK_FOLDER.lstrip("/"), ignore_errors=True)


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (Faults(no_space_after_bytes=100_000), "storage is full; free some space"),
        (Faults(read_only=True), "cannot be written|refuses access"),
        (Faults(abi="armeabi-v7a"), "the device runs armeabi-v7a; give a program for it with --runner"),
        (Faults(services={"thermalservice": "Thermal Status: 3\n"}), r"hot: thermal status 3 \(severe\)"),
    ],
    ids=["no space", "read-only", "another ABI", "hot"],
)
def test_what_is_wrong_with_a_device_is_said(int8_file: Path, as_phone: Opened, faults: Faults, words: str) -> None:
    with as_phone(faults) as device:
        outcome = measure(int8_file, device)
        assert outcome.record is None and isinstance(outcome.error, DeviceError)
        assert_matches(words, outcome.error)


def assert_matches(words: str, error: BaseException | None) -> None:
    assert re.search(words, str(error)), str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("kill -SEGV $$", "was ended by a segmentation fault"),
        ("echo garbage; echo more", "no timing that edgesr knows"),
        ("true", "printed nothing"),
        ("echo 'CANNOT LINK EXECUTABLE \"./x\": library \"libQnnHtp.so\" not found' >&2; exit 1",
         "needs libQnnHtp.so, which the device lacks; give it with --runner and --library"),
        ("sleep 600", r"no answer within 3 s; check the device"),
    ],
    ids=["crash", "garbage", "nothing", "missing library", "hang"],
)  # fmt: skip
def test_a_program_that_fails_leaves_the_device_clean(
    int8_file: Path, as_phone: Opened, tmp_path: Path, lines: str, words: str
) -> None:
    with as_phone() as device:
        protocol = Protocol(runs=2, blocks=1, cool_down_s=0, time_limit_s=3)
        outcome = measure(int8_file, device, script(tmp_path, "benchmark_model", lines), protocol)
        assert outcome.record is None
        assert_matches(words, outcome.error)
        assert outcome.log.exists()


def test_a_program_for_another_abi_is_refused(int8_file: Path, as_phone: Opened) -> None:
    with as_phone() as device:
        outcome = measure(int8_file, device, Program(Path(sys.executable).resolve()))
        assert_matches("is a program for x86_64, the device runs arm64-v8a", outcome.error)


def lines_of_markers(device: EmulatedDevice) -> int:
    """How many markers were passed so far; `instruction_counts` would take away those of the run that goes on."""
    path = device.root / PRIVATE / COUNTS
    return path.read_text().count("\n") if path.exists() else 0


def test_ctrl_c_stops_the_program_and_cleans_the_device(int8_file: Path, as_phone: Opened, tmp_path: Path) -> None:
    with as_phone(instructions=True) as device:
        out = tmp_path / "partial.json"
        words = ["bench", str(int8_file), "--device", f"adb:{device.serial}", "--size", "16x20", "--runs", "500",
                 "--delay-ms", "50", "--blocks", "1", "-o", str(out)]  # fmt: skip
        child = subprocess.Popen(
            [sys.executable, "-c", "from edgesr.cli import main; main()", *words], env=dict(os.environ),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        timer = threading.Timer(120, child.kill)
        timer.start()
        while lines_of_markers(device) < 2:  # until a timed run was made
            assert child.poll() is None, child.communicate()
            time.sleep(0.1)
        time.sleep(2)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        timer.cancel()
        assert child.returncode == 1 and ": interrupted; blocks that were finished stay" in err, err
        assert err.count("\n") == 1
        (result,) = json.loads(out.read_text())["results"]
        assert result["problem"] == "interrupted" and 0 < len(result["latencies_ms"]) < 500
