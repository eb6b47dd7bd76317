import functools
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.api import ExportRequest, benchmarking, export, host_block
from edgesr.api.benchmarking import available_bytes
from edgesr.errors import ArtifactError, DeviceError, EdgeSRError
from edgesr.model.spanv2 import SPANV2
from edgesr.progress import Progress
from edgesr.runtime.bench import Benchmark, Subject
from edgesr.runtime.idleness import OthersLoad
from edgesr.runtime.litert_runner import LiteRTRunner
from edgesr.runtime.torch_runner import TorchRunner
from edgesr.target import TARGETS

SIZE = (16, 20)

bench = functools.partial(benchmarking.bench, blocks=1)
"""In this process, where it can be looked into; tests/api/test_host_block.py starts others."""


def test_a_folder_is_timed_beside_its_network(exported_once: Any) -> None:
    folder = exported_once.manifest.folder
    record = bench(folder, SIZE, runs=2, warmups=1, memory=False)
    names = ["PyTorch eager spanv2_x2", *(a.file for a in exported_once.artifacts)]
    assert [r.name for r in record.results] == names and record.baselines == (0,) * len(names)
    assert [r.runner for r in record.results] == ["torch-float32", *(target.runners[0] for target in TARGETS)]
    assert (record.device, record.emulated, record.size, record.threads) == ("host", None, SIZE, 1)
    assert (record.runs, record.warmups) == (2, 1) and "processor" in record.environment
    for result, artifact in zip(record.results[1:], exported_once.artifacts, strict=True):
        assert isinstance(result, Benchmark) and len(result.latencies_ms) == 2
        assert result.sha256 == hashlib.sha256((folder / artifact.file).read_bytes()).hexdigest() == artifact.sha256
        assert result.init_ms is not None and result.init_ms > 0 and result.peak_memory_bytes is None
    assert len(record.all_warnings) >= len(record.results), "two runs are few"


def test_the_timed_output_is_compared_with_eager(exported_once: Any) -> None:
    folder = exported_once.manifest.folder
    for name, least, most in (("fp32.tflite", 100, 250), ("fp16.onnx", 55, 110), ("int8.tflite", 20, 60)):
        eager, file = bench(folder / f"spanv2_x2-{name}", SIZE, runs=1, warmups=0, memory=False).results
        assert eager.parity is None and file.parity is not None and file.parity.psnr_db is not None
        assert least < file.parity.psnr_db < most, name
        assert file.parity.reference == "PyTorch eager spanv2_x2 in float32"
        assert file.parity.compared_values == 2 * SIZE[0] * 2 * SIZE[1] * 3


def test_a_float_file_that_computes_something_else_is_warned_about(
    exported_once: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = LiteRTRunner.result
    monkeypatch.setattr(LiteRTRunner, "result", lambda self: result(self) + np.float32(0.01))
    record = bench(exported_once.manifest.folder / "spanv2_x2-fp32.tflite", SIZE, runs=1, warmups=0, memory=False)
    expected = "spanv2_x2-fp32.tflite: the timed run's output is 40.0 dB from PyTorch eager spanv2_x2 in float32; check"
    assert any(warning.startswith(expected) for warning in record.warnings), record.warnings


def test_every_number_of_threads_has_its_own_eager_baseline(exported_once: Any) -> None:
    before = torch.get_num_threads()
    path = exported_once.manifest.folder / "spanv2_x2-fp32.onnx"
    record = bench(path, SIZE, runs=2, warmups=0, threads=(2, 1, 2), memory=False)
    assert [record.threads_of(result) for result in record.results] == [2, 2, 1, 1]
    assert record.baselines == (0, 0, 2, 2) and record.threads == 2
    assert torch.get_num_threads() == before


def test_torch_runs_in_as_many_threads_as_its_result_says(exported_once: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    invoke = TorchRunner.invoke
    monkeypatch.setattr(TorchRunner, "invoke", lambda self: (seen.append(torch.get_num_threads()), invoke(self)))
    path = exported_once.manifest.folder / "spanv2_x2-fp32.onnx"
    bench(path, SIZE, runs=2, warmups=0, threads=(1, 2), memory=False)
    assert sorted(seen) == [1, 1, 2, 2]


def test_runtimes_can_be_named(exported_once: Any) -> None:
    folder = exported_once.manifest.folder
    record = bench(folder / "spanv2_x2-int8.tflite", (8, 8), runs=1, runtimes=["litert-reference"], memory=False)
    assert [result.runner for result in record.results] == ["torch-float32", "litert-reference"]
    record = bench(folder, (8, 8), runs=1, runtimes=["onnxruntime"], memory=False)
    assert {result.runner for result in record.results} == {"torch-float32", "onnxruntime"}
    with pytest.raises(EdgeSRError, match=r"no runtime is called 'tensorrt'; choose from litert-xnnpack, litert-ref"):
        bench(folder, (8, 8), runtimes=["tensorrt"])
    with pytest.raises(EdgeSRError, match=r"'onnxruntime' runs none of these files here; choose from litert-xnnpack"):
        bench(folder / "spanv2_x2-int8.tflite", (8, 8), runtimes=["onnxruntime"])


def test_peak_memory_is_measured_in_a_process_of_its_own(exported_once: Any) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-fp32.tflite"
    peaks = [result.peak_memory_bytes for result in bench(path, (256, 256), runs=1, warmups=0).results]
    output_bytes = 512 * 512 * 3 * 4
    assert all(peak is not None and output_bytes < peak < 400e6 for peak in peaks), peaks


def test_a_memory_measurement_that_fails_costs_no_result(exported_once: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise DeviceError("measuring the memory of a failed; give --no-memory")

    monkeypatch.setattr(benchmarking, "peak_memory", fail)
    record = bench(exported_once.manifest.folder / "spanv2_x2-fp32.onnx", SIZE, runs=1)
    assert len(record.results) == 2 and record.warnings.count("measuring the memory of a failed; give --no-memory") == 2


def test_a_busy_machine_is_said(exported_once: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_block.LoadWatch, "read", lambda self: OthersLoad(1.25, 0.5))
    record = bench(exported_once.manifest.folder / "spanv2_x2-fp32.onnx", SIZE, runs=1, memory=False)
    assert any("others used 1.25 cores, 0.50 were stolen; measure again" in warning for warning in record.warnings)
    assert record.environment["others"] == {"busy_cores": 1.25, "stolen_cores": 0.5}


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the subjects that a benchmark was to time, each run once; every latency is 1 ms."""
    names: list[str] = []

    def run(subjects: Sequence[Subject], runs: int, warmups: int, progress: Progress, _: int) -> list[Benchmark]:
        names.extend(subject.name for subject in subjects)
        for subject in subjects:
            subject.invoke()
        return [Benchmark(subject.name, subject.runner, (1.0,) * runs, warmups) for subject in subjects]

    monkeypatch.setattr(host_block, "run_interleaved", run)
    return names


def test_two_networks_in_a_folder_are_each_timed(
    exported: Path, photos: Path, tmp_path: Path, timed: list[str]
) -> None:
    torch.manual_seed(3)
    torch.save(SPANV2(channels=4, blocks=2, scale=3).state_dict(), tmp_path / "other.pth")
    onnx = tuple(target for target in TARGETS if target.name == "onnx-fp32")
    export(ExportRequest(targets=onnx, out=exported, weights=tmp_path / "other.pth", calibration=photos))
    result = bench(exported, SIZE, runs=1, warmups=0, memory=False)
    assert timed[0] == "PyTorch eager spanv2_x2" and timed[-2:] == ["PyTorch eager spanv2_x3", "spanv2_x3-fp32.onnx"]
    assert result.baselines is not None and result.baselines[-1] == len(timed) - 2 and result.baselines[0] == 0


@pytest.fixture
def request_sizes(small_checkpoint: Path, photos: Path, tmp_path: Path) -> Any:
    def build(name: str, *sizes: tuple[int, int]) -> Path:
        targets = tuple(target for target in TARGETS if target.name == name)
        out = tmp_path / "out"
        export(ExportRequest(targets=targets, out=out, weights=small_checkpoint, sizes=sizes, calibration=photos))
        return out

    return build


def test_the_default_size_is_the_files_own(request_sizes: Any, timed: list[str], exported_once: Any) -> None:
    out = request_sizes("tflite-fp32", (24, 40), (16, 16))
    assert bench(out, runs=1, memory=False).size == (24, 40)
    request_sizes("onnx-fp32", (12, 20))
    assert bench(out, runs=1, memory=False).size == (12, 20), "one file is fixed to it"
    assert bench(exported_once.manifest.folder / "spanv2_x2-fp32.onnx", runs=1, memory=False).size == (128, 128)


def test_sizes_that_do_not_go_together_are_refused(request_sizes: Any, timed: list[str]) -> None:
    out = request_sizes("onnx-fp32", (12, 20))
    with pytest.raises(
        ArtifactError, match=r"fp32\.onnx: 24x24 is not a size of this artifact \(12x20\); give another"
    ):
        bench(out, (24, 24))
    request_sizes("onnx-fp16", (20, 12))
    with pytest.raises(ArtifactError, match=r"different fixed sizes \(12x20, 20x12\); bench one file at a time"):
        bench(out)
    assert timed == []


def test_what_would_fill_the_machine_is_refused(exported_once: Any, timed: list[str]) -> None:
    with pytest.raises(
        EdgeSRError, match=r"a run at 90000x90000 may need \d+ GB of memory, \d+ GB are free; give a sm"
    ):
        bench(exported_once.manifest.folder, (90_000, 90_000))
    assert timed == []


def test_memory_is_not_guessed_where_the_system_does_not_tell(
    exported_once: Any, timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = available_bytes()
    assert found is None or 1e6 < found < 1e15
    monkeypatch.setattr(benchmarking, "available_bytes", lambda: 1)
    with pytest.raises(EdgeSRError, match="0 GB are free"):
        bench(exported_once.manifest.folder / "spanv2_x2-fp32.onnx", SIZE)
    monkeypatch.setattr(benchmarking, "available_bytes", lambda: None)
    bench(exported_once.manifest.folder / "spanv2_x2-fp32.onnx", SIZE, runs=1, memory=False)


def test_a_changed_file_is_not_timed(exported: Path, timed: list[str]) -> None:
    shutil.copy(exported / "spanv2_x2-fp16.tflite", exported / "spanv2_x2-fp32.tflite")
    with pytest.raises(ArtifactError, match="was changed after its export"):
        bench(exported, SIZE)
    assert timed == []
