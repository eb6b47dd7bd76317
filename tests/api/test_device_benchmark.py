"""Benchmarks of real exports with our real runner, on the stand-in's device, which is this machine."""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesr.android_bench.delegates import find_delegate
from edgesr.android_bench.protocol import Protocol
from edgesr.android_bench.runner import build
from edgesr.android_bench.runner.bundle import Platform
from edgesr.api import device_benchmark
from edgesr.api.device_benchmark import DeviceOptions, DeviceOutcome, bench_on_devices, counted
from edgesr.api.device_programs import Program
from edgesr.artifact import load_manifest
from edgesr.errors import ArtifactError, DeviceError, ParityError
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_record import BenchRecord

SIZE = (16, 20)
PROTOCOL = Protocol(runs=4, warmups=1, blocks=2)


@pytest.fixture(scope="session")
def native_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our runner for this machine."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("runners") / "linux-x86_64"
    build.build(build.BuildRequest(Platform.LINUX_X86_64, folder))
    return folder


Measure = Callable[..., DeviceOutcome]


@pytest.fixture
def measure(local_adb: Any, work_folder: Path, native_bundle: Path, exported: Path) -> Measure:
    """Measure the exported folder (a test's own copy)."""

    def run(program: Program | None = None, device: str = "adb", protocol: Protocol = PROTOCOL) -> DeviceOutcome:
        options = DeviceOptions(protocol, program or Program(native_bundle), local_adb.binary)
        (outcome,) = bench_on_devices(exported, device, SIZE, options)
        assert not work_folder.exists(), "the device is clean"
        return outcome

    return run


def timed(outcome: DeviceOutcome) -> list[Benchmark]:
    assert outcome.record is not None
    return [result for result in outcome.record.results if isinstance(result, Benchmark)]


def test_every_tflite_file_is_measured_and_right(measure: Measure, exported: Path) -> None:
    outcome = measure(device="adb:PHONE1")
    assert outcome.error is None and outcome.record is not None
    names = [a.file for a in load_manifest(exported).artifacts if a.file.endswith(".tflite")]
    results = timed(outcome)
    assert [result.name for result in results] == names and len(names) > 2
    for result in results:
        assert len(result.latencies_ms) == 4 and result.block_lengths == (2, 2)
        assert result.parity is not None and result.parity.equal, result.name
        assert result.init_ms is not None and result.peak_memory_bytes is not None
    plain = json.loads(json.dumps(outcome.record.to_json()))
    assert plain["device"] == "adb:PHONE1" and plain["emulated"] is None and plain["size"] == [16, 20]
    assert plain["environment"]["protocol"]["blocks"] == 2
    assert BenchRecord.from_json(plain) == outcome.record
    assert "edgesr_runner" in outcome.log.read_text()


def test_a_device_that_computes_nonsense_is_a_parity_error(
    measure: Measure, make_runner_that: Callable[[str], Path]
) -> None:
    bundle = make_runner_that("printf '\\177\\177\\177' | dd of=\"$output\" conv=notrunc bs=1 2>/dev/null")
    outcome = measure(Program(bundle))
    assert isinstance(outcome.error, ParityError) and "of its values are not those of" in str(outcome.error)
    assert len(timed(outcome)) > 2, "what was measured is kept"


@pytest.fixture
def make_runner_that(native_bundle: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A bundle whose runner does something more after the real one; $output is the output's file."""

    def make(lines: str) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(native_bundle, folder)
        (folder / "edgesr_runner").rename(folder / "real")
        (folder / "edgesr_runner").write_text(
            '#!/bin/sh\nfor o in "$@"; do case "$o" in --output=*) output=${o#*=};; esac; done\n'
            f'"$(dirname "$0")/real" "$@" || exit\n{lines}\n'
        )
        (folder / "edgesr_runner").chmod(0o755)
        description = json.loads((folder / "bundle.json").read_text())
        description["files"] = {
            name: build.sha256_of(folder / name) for name in (*description["files"], "real")
        }  # fmt: skip
        (folder / "bundle.json").write_text(json.dumps(description))
        return folder

    return make


def test_a_rounding_of_its_own_is_no_error(measure: Measure, make_runner_that: Callable[[str], Path]) -> None:
    """One value of one file is a step off: not this machine's bytes, and right by every limit."""
    flip = "import sys; p = sys.argv[1]; d = bytearray(open(p, 'rb').read()); d[0] = d[0] ^ 1; open(p, 'wb').write(d)"
    outcome = measure(Program(make_runner_that(f'python3 -c "{flip}" "$output"')))
    assert outcome.error is None
    parities = [result.parity for result in timed(outcome)]
    assert all(parity is not None and not parity.equal and parity.changed_share < 0.01 for parity in parities)


def test_samples_before_a_crash_are_kept_and_marked(measure: Measure, make_runner_that: Callable[[str], Path]) -> None:
    bundle = make_runner_that("""case "$*" in *--runs=2*) n=$(ls ../ran* 2>/dev/null | wc -l); touch ../ran$n;; esac
[ "$n" -ge 4 ] && kill -SEGV $$""")
    outcome = measure(Program(bundle))
    assert isinstance(outcome.error, DeviceError)
    assert outcome.record is not None and any(result.problem for result in timed(outcome))
    assert any("partial" in warning for warning in outcome.record.all_warnings)


def test_no_phone_is_an_error_before_anything_runs(measure: Measure, local_adb: Any) -> None:
    local_adb.set(devices=[])
    with pytest.raises(DeviceError, match="adb sees no device"):
        measure()
    with pytest.raises(DeviceError, match="no device that is ready"):
        measure(device="adb:all")


def test_all_phones_have_a_record_each(
    local_adb: Any, work_folder: Path, native_bundle: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two stand-ins share one folder, so the second one finds the first at work, or measures after it."""
    local_adb.set(devices=["PHONE1 device", "PHONE2 device", "PHONE3 offline"])
    options = DeviceOptions(PROTOCOL, Program(native_bundle), local_adb.binary)
    outcomes = bench_on_devices(exported, "adb:all", SIZE, options)
    assert [outcome.device for outcome in outcomes] == ["adb:PHONE1", "adb:PHONE2", "adb:PHONE3"]
    assert any(outcome.record is not None for outcome in outcomes)
    told = [str(outcome.error) for outcome in outcomes if outcome.record is None]
    assert all("another run is at work" in error or "PHONE3 is offline; reconnect" in error for error in told)


def test_a_proof_that_is_missing_loses_no_sample(
    measure: Measure, exported: Path, make_runner_that: Callable[[str], Path]
) -> None:
    for artifact in load_manifest(exported).artifacts:
        (exported / artifact.graph).unlink(missing_ok=True)
    outcome = measure(Program(make_runner_that("printf '\\177' | dd of=\"$output\" conv=notrunc bs=1 2>/dev/null")))
    assert isinstance(outcome.error, ArtifactError) and outcome.record is not None


def test_a_defect_of_ours_on_one_phone_loses_no_other(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(program: object, facts: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(device_benchmark, "choose_runner", broken)
    assert "a defect in edgesr (ZeroDivisionError: oops) while adb:PHONE1" in str(measure().error)


def test_ctrl_c_stops_every_phone(
    local_adb: Any, work_folder: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "benchmark_model"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started; exec sleep 60\n")
    program.chmod(0o755)

    def interrupted(jobs: object) -> None:
        while not (tmp_path / "started").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(device_benchmark, "wait", interrupted)
    options = DeviceOptions(PROTOCOL, Program(program), local_adb.binary)
    begun = time.monotonic()
    (outcome,) = bench_on_devices(exported, "adb:all", SIZE, options)
    assert time.monotonic() - begun < 40 and "interrupted" in str(outcome.error)
    assert not work_folder.exists()


def test_a_folder_without_tflite_files_is_refused(local_adb: Any, native_bundle: Path, exported: Path) -> None:
    onnx = next(a.file for a in load_manifest(exported).artifacts if a.file.endswith(".onnx"))
    with pytest.raises(ArtifactError, match=r"holds no file that a phone's LiteRT runs .*; export a tflite target"):
        bench_on_devices(exported / onnx, "adb", SIZE, DeviceOptions(adb=local_adb.binary))


def test_a_size_that_a_file_does_not_take_is_refused(local_adb: Any, exported: Path) -> None:
    manifest = load_manifest(exported)
    fixed = dataclasses.replace(manifest.artifacts[0].contract, any_size=False, sizes=((16, 16),))
    artifact = dataclasses.replace(manifest.artifacts[0], contract=fixed)
    dataclasses.replace(manifest, artifacts=(artifact,)).save()
    with pytest.raises(ArtifactError, match=r"16x20 is not a size of this artifact .*; give another --size"):
        bench_on_devices(exported, "adb", SIZE, DeviceOptions(adb=local_adb.binary))


def test_benchmark_model_beside_a_delegate(measure: Measure, tmp_path: Path, native_bundle: Path) -> None:
    program = tmp_path / "benchmark_model"
    program.write_text("""#!/bin/sh
echo "Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate."
echo "count=2 first=5100 curr=5000 min=4900 max=5200 avg=5050 std=12"
echo "Inference timings in us: Init: 18777, First inference: 6000, Warmup (avg): 5500, Inference (avg): 5050"
""")
    program.chmod(0o755)
    outcome = measure(Program(program, find_delegate("gpu")))
    results = timed(outcome)
    assert outcome.error is None and results[0].placement == "all operators on GPU"
    assert results[0].runner == "benchmark_model (gpu)" and results[0].runs_per_sample == (2, 2)


def result(name: str) -> Benchmark:
    return Benchmark(name, "r", (1.0,), 0)


def test_counts_go_to_the_files_in_the_order_of_the_blocks() -> None:
    protocol = Protocol(runs=3, blocks=2)  # blocks of 2 and 1 runs: a a b b, then b a
    first, second = counted([result("a"), result("b")], [1, 2, 11, 12, 13, 3], protocol)
    assert first.instructions == (1, 2, 3) and second.instructions == (11, 12, 13)


def test_counts_that_do_not_match_the_runs_are_refused() -> None:
    with pytest.raises(DeviceError, match="counted 2 runs, 3 were made"):
        counted([result("a")], [1, 2], Protocol(runs=3, blocks=1))


def test_the_log_has_a_name_that_a_file_can_have() -> None:
    log = device_benchmark._new_log("192.168.0.7:5555")
    assert log.name == "192.168.0.7-5555.log" and log.parent.is_dir()
    log.parent.rmdir()
