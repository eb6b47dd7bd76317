"""`bench --device cuda` where no GPU is: its refusal, and everything but the GPU's own clock and graphs on the CPU."""

import hashlib
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from edgesr.api import cuda_benchmark
from edgesr.api.cuda_benchmark import bench_on_cuda
from edgesr.errors import ArtifactError, DeviceError, EdgeSRError
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_record import BenchRecord, read_record
from edgesr.runtime.cuda import contenders, gate_timing
from edgesr.runtime.cuda.backend import Backend
from edgesr.runtime.cuda.replay import TimedReplay

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason='Triton is not installed: pip install "edgesr[cuda]"'
)
FILE = "spanv2_x2-fp32.onnx"
SIZE = (6, 20)
CPU = torch.device("cpu")


@pytest.fixture
def as_if(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The CPU in the GPU's place, with this machine's clock; the modes that torch.compile was asked for."""
    modes: list[str] = []

    def compile_nothing(module: Any, mode: str, dynamic: bool) -> Any:
        assert not dynamic
        modes.append(mode)
        return module

    def measure(timed: TimedReplay) -> float:
        started = time.perf_counter()
        timed.replay()
        return (time.perf_counter() - started) * 1e3

    monkeypatch.setattr(torch, "compile", compile_nothing)
    monkeypatch.setattr(TimedReplay, "measure", measure)
    monkeypatch.setattr(cuda_benchmark, "eager_backend", lambda: Backend(CPU, "no GPU, sm_00"))
    monkeypatch.setattr(cuda_benchmark, "fused_backend", lambda: Backend(CPU, "no GPU, sm_00"))
    monkeypatch.setattr(cuda_benchmark.replay, "copy_bandwidth", lambda device: 1e9)
    return modes


@needs_triton
def test_every_way_takes_turns_and_its_output_is_compared(as_if: list[str], exported_once: Any) -> None:
    manifest = exported_once.manifest
    stages: list[str] = []
    record = bench_on_cuda(manifest.folder / FILE, SIZE, 2, 1, lambda stage, *_: stages.append(stage))
    results = [result for result in record.results if isinstance(result, Benchmark)]
    assert [(r.runner, r.name) for r in results] == [
        ("torch-cuda", "spanv2_x2 fp32"), ("torch-cuda", "spanv2_x2 fp16"), ("torch-compile", "spanv2_x2 fp16"),
        ("cuda-fused", "spanv2_x2 fp16"), ("cuda-fused", "spanv2_x2 fp32"),
    ]  # fmt: skip
    assert record.device == "cuda" and record.baselines == (0,) * 5 and as_if == [contenders.COMPILE_MODE]
    assert record.environment["gpu"] == "no GPU, sm_00" and stages[0] == "compile" and stages[-1] == "benchmark"
    reference = manifest.folder / manifest.find(FILE).reference
    assert {r.sha256 for r in results} == {hashlib.sha256(reference.read_bytes()).hexdigest()}
    assert results[0].parity is None and results[4].parity is not None and results[4].parity.max_difference < 5e-5
    for half in results[1:4]:
        assert half.parity is not None and 1e-5 < half.parity.max_difference < 2.5e-2
        assert half.parity.reference == "torch-cuda in fp32"
    assert BenchRecord.from_json(record.to_json()) == record


@needs_triton
def test_bytes_and_floors(as_if: list[str], exported_once: Any) -> None:
    record = bench_on_cuda(exported_once.manifest.folder / FILE, SIZE, 1, 0)
    wide, half, compiled, fused_half, fused_wide = record.results
    for result in (wide, half, compiled, fused_half, fused_wide):
        assert isinstance(result, Benchmark)
    assert wide.moved_bytes == 2 * half.moved_bytes, "the same operators on tensors half as large"
    assert compiled.moved_bytes is None, "nobody knows what torch.compile fused"
    assert fused_wide.moved_bytes == 2 * fused_half.moved_bytes < wide.moved_bytes
    assert half.floor_ms == compiled.floor_ms == fused_half.floor_ms == pytest.approx(fused_half.moved_bytes / 1e6)
    assert wide.floor_ms == fused_wide.floor_ms == 2 * fused_half.floor_ms


def test_ways_can_be_named(as_if: list[str], exported_once: Any) -> None:
    path = exported_once.manifest.folder / FILE
    record = bench_on_cuda(path, SIZE, 1, 0, runtimes=["torch-cuda"])
    assert [result.runner for result in record.results] == ["torch-cuda"] * 2 and as_if == []
    assert all(isinstance(result, Benchmark) and result.floor_ms is None for result in record.results)
    with pytest.raises(
        EdgeSRError, match=r"no runtime of --device cuda is called 'x'; choose from torch-cuda, torch-co"
    ):
        bench_on_cuda(path, runtimes=["x"])


@needs_triton
def test_the_gate_alone(as_if: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    results = gate_timing.time_gate((3, 5), CPU, 2, 1)
    assert [result.runner for result in results] == ["torch-cuda", "cuda-fused", "torch-compile"]
    assert [result.moved_bytes for result in results] == [None, 3 * 32 * 15 * 2, None]
    assert len(gate_timing.time_gate((3, 5), CPU, 2, 1, with_compile=False)) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_line(exported_once: Any) -> None:
    with pytest.raises(
        DeviceError, match=r"torch-cuda cannot run: torch .* without CUDA; run this on a machine with an N"
    ):
        bench_on_cuda(exported_once.manifest.folder / FILE)


def test_two_networks_in_a_folder_are_refused(
    exported: Path, as_if: list[str], small_checkpoint: Path, request_for: Callable[..., Any]
) -> None:
    from edgesr.api import export
    from edgesr.model.spanv2 import SPANV2

    torch.manual_seed(3)
    other = exported.parent / "other.pth"
    torch.save(SPANV2(channels=4, blocks=2, scale=3).state_dict(), other)
    export(request_for("onnx-fp32", out=exported, weights=other))
    with pytest.raises(ArtifactError, match=r"holds files of 2 networks; give one of the files"):
        bench_on_cuda(exported)


SCRIPT = Path(__file__).parents[2] / "docs" / "bench_cuda.py"


@needs_triton
@pytest.mark.parametrize(("seconds", "compiled"), [("10000", True), ("1", False)])
def test_the_script_of_the_table(seconds: str, compiled: bool, as_if: list[str], tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("bench_cuda", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.SIZES, script.WARMUPS = ((3, 5), (4, 6)), 0
    options = ["--output", str(tmp_path / "out"), "--seconds", seconds, "--runs", "1"]
    script.measure(script.parser.parse_args(options), Backend(CPU, "no GPU, sm_00"))
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert lines[0].startswith("no GPU, sm_00") and ("left out at 3x5, 4x6: no time" in lines[0]) != compiled
    rows = [line.split(" | ") for line in lines if line.startswith("| 4x6")]
    assert len(rows) == (8 if compiled else 6) and rows[0][1:3] == ["spanv2_x4 fp32", "torch-cuda"]
    assert rows[-1][1] == "gate fp16" and read_record(tmp_path / "out" / "4x6.json").size == (4, 6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_script_without_a_gpu_is_one_line() -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("bench-cuda: torch ") and done.stderr.count("\n") == 1
