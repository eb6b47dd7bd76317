"""The runner's contract, on this machine's own LiteRT."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgesr.android_bench.runner.bundle import Bundle
from edgesr.architecture import SRModel
from edgesr.target import Precision

SIZES = ((8, 12), (6, 10))
SCALE = 2


@dataclass(frozen=True)
class Ended:
    """How the runner ended: exit code, the JSON lines of stdout, and stderr."""

    code: int
    events: list[dict[str, Any]]
    stderr: str

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.events if line["event"] == event]


Run = Callable[..., Ended]


@pytest.fixture
def run(native_bundle: Bundle) -> Run:
    def call(**flags: object) -> Ended:
        words = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        done = subprocess.run(
            [*native_bundle.command, *words], cwd=native_bundle.folder, capture_output=True, text=True, timeout=120
        )
        return Ended(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)

    return call


@pytest.fixture(scope="module", params=[Precision.INT8, Precision.FP32], ids=["int8", "fp32"])
def network(request: pytest.FixtureRequest, gentle_model: SRModel, write_network: Callable[..., Any]) -> Any:
    """A small SPANV2 with two signatures."""
    return write_network(gentle_model, request.param, SIZES)


def element_bytes(network: Any) -> int:
    return 1 if network.contract.dtype.value == "int8" else 4


@pytest.mark.parametrize("size", [None, SIZES[0], SIZES[1], (7, 9)], ids=str)
def test_its_output_is_that_of_this_machines_litert(
    network: Any, size: tuple[int, int] | None, run: Run, tmp_path: Path
) -> None:
    """With no size the first signature runs, with one its own, and another size is a resized first one."""
    height, width = size or SIZES[0]
    (tmp_path / "in").write_bytes(network.input_for((height, width)))
    flags = {} if size is None else {"size": f"{height}x{width}"}
    ended = run(model=network.path, input=tmp_path / "in", output=tmp_path / "out", runs=2, warmup=1, **flags)
    assert (ended.code, [event["event"] for event in ended.events][:2]) == (0, ["start", "ready"]), ended.stderr
    assert (tmp_path / "out").read_bytes() == network.output_for((height, width))
    values = height * width * 3 * element_bytes(network)
    assert ended.of("ready")[0]["input_bytes"] == values
    assert ended.of("ready")[0]["output_bytes"] == values * SCALE**2


def test_the_protocol(network: Any, run: Run) -> None:
    ended = run(model=network.path, runs=7, warmup=3, threads=2)
    assert [event["event"] for event in ended.events] == ["start", "ready", "warmup", "runs", "done"]
    start, ready, warmup, runs, done = ended.events
    assert start["schema"] == 1 and start["runner"] == "edgesr_runner" and start["abi"] == "x86_64"
    assert start["pid"] > 1 and start["version"] == "0.1.0"
    assert ready["accelerator"] == "cpu" and ready["fully_accelerated"] is True and ready["threads"] == 2
    assert ready["init_ms"] > 0
    assert len(warmup["ns"]) == 3 and len(runs["ns"]) == 7 and all(ns > 0 for ns in warmup["ns"] + runs["ns"])
    assert done["runs"] == 7 and done["output_written"] is False
    assert done["cpu_ms"] > 0 and done["peak_rss_bytes"] > 1 << 20
    assert done["minor_faults"] >= 0 and done["involuntary_switches"] >= 0


def test_samples_come_in_parts_at_most_four_times_a_second(network: Any, run: Run) -> None:
    ended = run(model=network.path, runs=3, warmup=0, delay_ms=20, seconds=0.8)
    parts = ended.of("runs")
    assert 2 <= len(parts) <= 5
    assert sum(len(part["ns"]) for part in parts) == ended.of("done")[0]["runs"] > 10
    assert ended.of("warmup") == [{"event": "warmup", "ns": []}]


def test_seconds_does_not_shorten_the_runs(network: Any, run: Run) -> None:
    assert run(model=network.path, runs=40, warmup=0, seconds=0).of("done")[0]["runs"] == 40


def test_it_keeps_to_the_cores_it_is_given(network: Any, run: Run) -> None:
    assert run(model=network.path, runs=1, affinity="1").code == 0
    refused = run(model=network.path, affinity="8000000000000000")
    assert refused.code == 4
    assert refused.of("error")[0]["where"] == "--affinity" and "8000000000000000" in refused.of("error")[0]["what"]


BAD_USE = {
    "unknown": ({"bogus": 1}, "--bogus", "unknown flag; known are --model"),
    "no model": ({"runs": 3}, "--model", "name a TFLite file"),
    "empty model": ({"model": ""}, "--model", "name a TFLite file"),
    "no number": ({"model": "x", "runs": "many"}, "--runs", "'many' is no whole number from 1 to"),
    "no runs": ({"model": "x", "runs": 0}, "--runs", "'0' is no whole number"),
    "overflow": ({"model": "x", "warmup": 10**30}, "--warmup", "is no whole number"),
    "size": ({"model": "x", "size": "64"}, "--size", "'64' is no size HxW"),
    "half a size": ({"model": "x", "size": "64x"}, "--size", "'' is no whole number"),
    "mask": ({"model": "x", "affinity": "0"}, "--affinity", "'0' is no hexadecimal mask"),
    "accelerator": ({"model": "x", "accelerator": "tpu"}, "--accelerator", "'tpu' is none of cpu, gpu, npu"),
    "seconds": ({"model": "x", "seconds": "nan"}, "--seconds", "'nan' is no number of seconds"),
}


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_is_refused(case: str, run: Run) -> None:
    flags, where, what = BAD_USE[case]
    ended = run(**flags)
    assert ended.code == 2
    assert [event["event"] for event in ended.events] == ["error"]
    assert ended.events[0]["where"] == where and what in ended.events[0]["what"]
    assert f"edgesr_runner: {where}: {ended.events[0]['what']}" in ended.stderr


def test_an_argument_without_a_value_is_refused(native_bundle: Bundle) -> None:
    words = [*native_bundle.command, "--model"]
    done = subprocess.run(words, cwd=native_bundle.folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and json.loads(done.stdout)["what"] == "every argument is --name=value"


@pytest.mark.parametrize("change", [-1, 1, -(10**9)])
def test_an_input_of_another_length_is_refused(network: Any, change: int, run: Run, tmp_path: Path) -> None:
    content = network.input_for(SIZES[0])
    has = max(len(content) + change, 0)
    (tmp_path / 'odd "name"').write_bytes((content + b"x")[:has])
    ended = run(model=network.path, input=tmp_path / 'odd "name"')
    assert ended.code == 5
    error = ended.of("error")[0]
    assert error["where"] == str(tmp_path / 'odd "name"') and error["what"] == f"needs {len(content)} bytes, has {has}"


def test_a_missing_input_is_named(network: Any, run: Run) -> None:
    ended = run(model=network.path, input="/nowhere/in")
    assert ended.code == 5 and ended.of("error")[0]["where"] == "/nowhere/in"


@pytest.mark.parametrize("path", ["/nowhere/out", "/dev/full"])
def test_an_output_that_cannot_be_written_ends_it(network: Any, path: str, run: Run) -> None:
    ended = run(model=network.path, runs=2, output=path)
    assert ended.code == 6 and ended.of("error")[0]["where"] == path
    assert len(ended.of("runs")[0]["ns"]) == 2 and not ended.of("done")


def test_a_file_that_is_no_network_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_text("not a flatbuffer")
    ended = run(model=tmp_path / "text.tflite")
    assert ended.code == 3 and ended.of("error")[0]["where"] == "LiteRtCreateModelFromFile"
    assert ended.of("error")[0]["what"].startswith("LiteRT status ")
    missing = run(model=tmp_path / "missing.tflite")
    assert missing.code == 3 and "No such file" in missing.of("error")[0]["what"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_at_once(network: Any, number: int, native_bundle: Bundle) -> None:
    words = [*native_bundle.command, f"--model={network.path}", "--runs=100000000"]
    with subprocess.Popen(words, cwd=native_bundle.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if json.loads(line)["event"] == "runs":
                break
        child.send_signal(number)
        assert child.wait(timeout=5) == -number


def test_it_ends_when_nobody_listens(network: Any, native_bundle: Bundle) -> None:
    words = [*native_bundle.command, f"--model={network.path}", "--runs=100000000"]
    with subprocess.Popen(words, cwd=native_bundle.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.close()
        guard = threading.Timer(20, child.kill)
        guard.start()
        assert child.wait() == -signal.SIGPIPE
        guard.cancel()
