"""Whole measurements over the stand-in for adb, with programs that answer as the real ones do."""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesr.android_bench.adb_device import AdbDevice
from edgesr.android_bench.delegates import find_delegate
from edgesr.android_bench.device_facts import Battery, Condition
from edgesr.android_bench.device_runner import BenchmarkModelRunner, DeviceRunner, EdgeSRRunner, Task
from edgesr.android_bench.measurement import DeviceFile, Measurement
from edgesr.android_bench.protocol import Protocol, Start
from edgesr.android_bench.runner.bundle import Bundle, Platform
from edgesr.android_bench.shell import Completed
from edgesr.artifact import IOContract
from edgesr.errors import DeviceError, EdgeSRError
from edgesr.target import IODtype, Layout

START = Start(Condition(0, {}, Battery()), None, 0.0, ())
PROTOCOL = Protocol(runs=6, warmups=1, blocks=2)
IMAGE = np.arange(2 * 3 * 3, dtype=np.int8).reshape(1, 2, 3, 3)

OURS = """
for option in "$@"; do
  case "$option" in
    --runs=*) runs=${option#*=};; --input=*) input=${option#*=};; --output=*) output=${option#*=};;
    --model=*) model=${option#*=};;
  esac
done
echo "$@" >> CALLS
echo '{"event":"start","schema":1,"runner":"edgesr_runner","version":"0","abi":"arm64-v8a","pid":1}'
echo '{"event":"ready","init_ms":3.5,"accelerator":"cpu","fully_accelerated":true,"threads":1}'
echo '{"event":"warmup","ns":[9000000]}'
i=0; while [ $i -lt $runs ]; do echo '{"event":"runs","ns":[5000000]}'; i=$((i+1)); done
cp "$input" "$output"
echo '{"event":"done","runs":'$runs',"peak_rss_bytes":1048576,"output_written":true}'
"""
TF2 = """
for option in "$@"; do
  case "$option" in --input_layer_value_files=*) input=${option#*:};; --output_filepath=*) output=${option#*=};; esac
done
echo "INFO: STARTING!"
echo "count=3 first=5100 curr=5000 min=4900 max=5200 avg=5050 std=12"
echo
echo "Inference timings in us: Init: 18777, First inference: 6000, Warmup (avg): 5500, Inference (avg): 5050"
"""


@pytest.fixture
def contract() -> IOContract:
    return IOContract(IODtype.INT8, Layout.NHWC, 3, 1, 1.0, ((2, 3),), any_size=True)


@pytest.fixture
def device_file(tmp_path: Path, contract: IOContract) -> Callable[[str], DeviceFile]:
    def make(name: str) -> DeviceFile:
        path = tmp_path / name
        path.write_bytes(name.encode())
        digest = hashlib.sha256(name.encode()).hexdigest()
        return DeviceFile(name, path, digest, contract, (2, 3), IMAGE, IMAGE, IMAGE, "LiteRT on this machine")

    return make


@pytest.fixture
def ours(make_program: Any, tmp_path: Path) -> Callable[..., EdgeSRRunner]:
    """Our runner's stand-in, with lines that run before its own."""

    def make(before: str = "", lines: str = OURS) -> EdgeSRRunner:
        program = make_program("edgesr_runner", before + lines.replace("CALLS", str(tmp_path / "calls")))
        (tmp_path / "libLiteRt.so").write_bytes(b"library")
        files = {name: "0" * 64 for name in ("edgesr_runner", "libLiteRt.so")}
        return EdgeSRRunner(Bundle(program.parent, Platform.LINUX_ARM64, "2.3.0", ("./edgesr_runner",), files))

    return make


def measure(
    local_adb: Any, runner: DeviceRunner, files: list[DeviceFile], log: Path, protocol: Protocol = PROTOCOL
) -> Measurement:
    measurement = Measurement(local_adb.device, runner, files, protocol, log)
    measurement.run(START)
    return measurement


def test_files_take_turns_and_every_sample_is_kept(
    local_adb: Any, work_folder: Path, device_file: Any, ours: Any, tmp_path: Path
) -> None:
    files = [device_file("a.tflite"), device_file("b.tflite")]
    first, second = measure(local_adb, ours(), files, tmp_path / "log").results()
    assert (first.name, second.name) == ("a.tflite", "b.tflite")
    assert first.latencies_ms == (5.0,) * 6 and first.block_lengths == (3, 3) and first.warmups == 1
    assert first.init_ms == 3.5 and first.peak_memory_bytes == 1 << 20 and first.sha256 == files[0].sha256
    assert first.parity is not None and first.parity.equal and first.parity.reference == "LiteRT on this machine"
    assert first.problem is None and first.placement == "all operators on the CPU (XNNPACK)"
    models = [line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()]
    assert models[0] == models[3] != models[1] == models[2]  # a b, then b a
    assert not work_folder.exists()


def test_what_was_said_is_in_the_log(
    local_adb: Any, work_folder: Path, device_file: Any, ours: Any, tmp_path: Path
) -> None:
    device = AdbDevice(local_adb.adb, "PHONE1", tmp_path / "log")
    runner = ours("echo linker warning >&2")
    Measurement(device, runner, [device_file("a.tflite")], PROTOCOL, tmp_path / "log").run(START)
    log = (tmp_path / "log").read_text()
    assert log.count("linker warning") == 2 and log.count('"event":"done"') == 2 and "[exit code 0]" in log


def test_another_output_is_told(local_adb: Any, work_folder: Path, device_file: Any, ours: Any, tmp_path: Path) -> None:
    wrong = OURS.replace('cp "$input" "$output"', 'printf "\\001" > "$output"; tail -c +2 "$input" >> "$output"')
    (result,) = measure(local_adb, ours(lines=wrong), [device_file("a.tflite")], tmp_path / "log").results()
    assert result.parity is not None and not result.parity.equal and result.parity.max_difference == 1


def test_an_output_of_another_size_is_an_error(
    local_adb: Any, work_folder: Path, device_file: Any, ours: Any, tmp_path: Path
) -> None:
    short = OURS.replace('cp "$input" "$output"', 'printf x > "$output"')
    with pytest.raises(DeviceError, match="the output has 1 bytes, 18 are right"):
        measure(local_adb, ours(lines=short), [device_file("a.tflite")], tmp_path / "log")
    assert not work_folder.exists()


def test_benchmark_model_gives_one_sample_a_block(
    local_adb: Any, work_folder: Path, device_file: Any, make_program: Any, tmp_path: Path
) -> None:
    runner = BenchmarkModelRunner(make_program("benchmark_model", TF2))
    measurement = measure(local_adb, runner, [device_file("a.tflite")], tmp_path / "log")
    (result,) = measurement.results()
    assert result.latencies_ms == (5.05, 5.05) and result.runs_per_sample == (3, 3)
    assert result.parity is None
    assert measurement.warnings() == (
        "a.tflite: benchmark_model (xnnpack) wrote no output, so its parity is not checked",
    )


def test_benchmark_models_own_output_is_compared(
    local_adb: Any, work_folder: Path, device_file: Any, make_program: Any, tmp_path: Path
) -> None:
    runner = BenchmarkModelRunner(make_program("benchmark_model", TF2 + 'cp "$input" "$output"'))
    (result,) = measure(local_adb, runner, [device_file("a.tflite")], tmp_path / "log").results()
    assert result.parity is not None and result.parity.equal


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("kill -SEGV $$", "was ended by a segmentation fault"),
        ("kill -KILL $$", "was ended by kill"),
        ("exit 0", "printed nothing; give a benchmark program"),
        ("echo hello", "code 0: hello"),
        ("echo 'error while loading shared libraries: libQnnHtp.so: cannot open shared object file' >&2; exit 127",
         "needs libQnnHtp.so, which the device lacks; give it with --runner and --library"),
        ("""echo 'CANNOT LINK EXECUTABLE "./x": library "libcdsprpc.so" not found: needed by main' >&2; exit 1""",
         "needs libcdsprpc.so"),
        ('echo "Exec format error" >&2; exit 126', "cannot start"),
        ('echo \'{"event":"start","schema":1}\'; echo \'{"event":"runs","ns":"x"}\'', "garbage"),
        ('echo \'{"event":"error","what":"needs 18 bytes, has 3","where":"input.raw"}\'; exit 5', "needs 18 bytes"),
    ],
)  # fmt: skip
def test_a_program_that_fails_is_told_of_and_nothing_is_left(
    local_adb: Any, work_folder: Path, device_file: Any, ours: Any, tmp_path: Path, lines: str, words: str
) -> None:
    with pytest.raises(DeviceError, match=words) as caught:
        measure(local_adb, ours(lines=lines), [device_file("a.tflite")], tmp_path / "log")
    assert str(tmp_path / "log") in str(caught.value) and "\n" not in str(caught.value)
    assert not work_folder.exists()


def test_samples_of_a_run_that_breaks_are_kept_and_marked(
    local_adb: Any, work_folder: Path, device_file: Any, ours: Any, tmp_path: Path
) -> None:
    """The second block dies after one run."""
    dies = OURS.replace("i=$((i+1)); done", 'i=$((i+1)); [ "$(wc -l < CALLS)" = 2 ] && kill -SEGV $$; done')
    measurement = Measurement(local_adb.device, ours(lines=dies), [device_file("a.tflite")], PROTOCOL, tmp_path / "log")
    with pytest.raises(DeviceError, match="ended before its last run"):
        measurement.run(START)
    (result,) = measurement.results()
    assert result.latencies_ms == (5.0,) * 4 and result.problem is not None and result.parity is None
    assert not work_folder.exists()


def test_a_program_that_hangs_is_stopped_and_its_samples_kept(
    local_adb: Any, work_folder: Path, device_file: Any, ours: Any, tmp_path: Path
) -> None:
    hangs = OURS.replace('cp "$input" "$output"', "exec sleep 61.25")  # no other test's, which may run beside this
    measurement = Measurement(
        local_adb.device, ours(lines=hangs), [device_file("a.tflite")], Protocol(runs=2, blocks=1, time_limit_s=1.5),
        tmp_path / "log",
    )  # fmt: skip
    begun = time.monotonic()
    with pytest.raises(DeviceError, match=r"no answer within 1\.5 s"):
        measurement.run(START)
    assert time.monotonic() - begun < 20
    (result,) = measurement.results()
    assert result.latencies_ms == (5.0, 5.0) and result.problem is not None and "no answer" in result.problem
    assert not work_folder.exists() and "sleep 61.25" not in running_programs()


def test_benchmark_models_timing_before_it_hangs_is_kept(
    local_adb: Any, work_folder: Path, device_file: Any, make_program: Any, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    hangs = f"echo >> {runs}; " + TF2 + f'[ "$(wc -l < {runs})" -lt 2 ] || exec sleep 60'
    protocol = Protocol(runs=6, blocks=2, time_limit_s=2)
    runner = BenchmarkModelRunner(make_program("benchmark_model", hangs))
    measurement = Measurement(local_adb.device, runner, [device_file("a.tflite")], protocol, tmp_path / "log")
    with pytest.raises(DeviceError, match="no answer"):
        measurement.run(START)
    (result,) = measurement.results()
    assert result.runs_per_sample == (3, 3) and result.problem is not None


def test_a_flag_of_the_delegate_that_is_not_known_is_an_error(make_program: Any) -> None:
    runner = BenchmarkModelRunner(make_program("benchmark_model", TF2), find_delegate("gpu"))
    text = "Inference timings in us: Init: 1, Inference (avg): 5050\n"
    with pytest.raises(DeviceError, match="does not know --use_gpu, so all ran on the CPU"):
        runner.read(Completed(0, "Unconsumed cmdline flags: --use_gpu=true\n" + text))
    assert runner.read(Completed(0, "Unconsumed cmdline flags: --run_delay=-1\n" + text)).summary is not None


def running_programs() -> str:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # a program that has ended since
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(lines)


def test_the_command_line_holds_what_was_asked(
    local_adb: Any, work_folder: Path, device_file: Any, ours: Any, tmp_path: Path
) -> None:
    start = Start(START.condition, "f0", 0.0, ())
    measurement = Measurement(
        local_adb.device, ours(), [device_file("a.tflite")], Protocol(runs=2, blocks=1, threads=4, delay_ms=7),
        tmp_path / "log",
    )  # fmt: skip
    measurement.run(start)
    call = (tmp_path / "calls").read_text().split()
    for option in ("--runs=2", "--warmup=5", "--threads=4", "--delay-ms=7", "--size=2x3", "--affinity=f0"):
        assert option in call


def test_delegates_have_their_flags_and_libraries(make_program: Any, tmp_path: Path) -> None:
    program, qnn = make_program("benchmark_model", TF2), find_delegate("QNN")
    with pytest.raises(EdgeSRError, match=r"--delegate qnn needs libQnnTFLiteDelegate\.so; give it with --library"):
        BenchmarkModelRunner(program, qnn)
    libraries = []
    for name in qnn.libraries:
        (tmp_path / name).touch()
        libraries.append(tmp_path / name)
    runner = BenchmarkModelRunner(program, qnn, tuple(libraries), ("--verbose=true",))
    command = runner.command(Task("m", "i", "o", (2, 3), 3, 10, 2, 1, "80"), "/work")
    assert command[:5] == ["env", "LD_LIBRARY_PATH=/work", "ADSP_LIBRARY_PATH=/work", "taskset", "80"]
    assert "--external_delegate_path=/work/libQnnTFLiteDelegate.so" in command and command[-1] == "--verbose=true"
    assert "--input_layer_shape=1,2,3,3" in command and "--num_runs=10" in command
    assert set(runner.files) == {"benchmark_model", *qnn.libraries}
    with pytest.raises(EdgeSRError, match="no delegate is called 'qn'; choose qnn"):
        find_delegate("qn")
    with pytest.raises(EdgeSRError, match=r"two libraries are called libQnnHtp\.so"):
        BenchmarkModelRunner(program, qnn, (*libraries, libraries[1]))
    assert runner.programs == (program,), "a DSP's library is no program of this processor"
    with pytest.raises(EdgeSRError, match="is no file; give a library"):
        BenchmarkModelRunner(program, libraries=(tmp_path / "none.so",))


def test_a_name_that_a_shell_would_run_stays_a_name(
    local_adb: Any, work_folder: Path, device_file: Any, ours: Any, tmp_path: Path
) -> None:
    measure(local_adb, ours(), [device_file("a$(touch pwned);b.tflite")], tmp_path / "log")
    assert not list(tmp_path.rglob("pwned")) and not Path("pwned").exists()
