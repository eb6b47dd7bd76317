import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from edgesr.api import ExportRequest, bench, benchmarking, export
from edgesr.api.benchmarking import HostBenchmark, available_bytes
from edgesr.errors import ArtifactError, EdgeSRError
from edgesr.model.spanv2 import SPANV2
from edgesr.progress import Progress
from edgesr.runtime.bench import Benchmark, Subject
from edgesr.target import TARGETS

SIZE = (16, 20)


def test_a_folder_is_timed_beside_its_network(exported_once: Any) -> None:
    result = bench(exported_once.manifest.folder, SIZE, runs=2, warmups=1)
    assert [r.name for r in result.results] == ["PyTorch eager spanv2_x2", *(a.file for a in exported_once.artifacts)]
    assert [r.runner for r in result.results] == ["torch-float32", *(target.runners[0] for target in TARGETS)]
    assert all(len(r.latencies_ms) == 2 and r.min_ms > 0 for r in result.results)
    assert result.ratio(result.results[0]) == 1.0
    plain: dict[str, Any] = json.loads(json.dumps(result.to_json()))
    assert (plain["device"], plain["emulated"], plain["size"], plain["threads"]) == ("host", False, [16, 20], 1)
    for r, row in zip(result.results, plain["results"], strict=True):
        assert row["ratio_to_torch"] == r.median_ms / result.results[0].median_ms
        assert row["latencies_ms"] == list(r.latencies_ms)
    assert len(plain["warnings"]) >= len(plain["results"]), "two runs are few"


def test_ratios_are_to_the_network_that_a_file_came_from() -> None:
    def row(name: str, ms: float) -> Benchmark:
        return Benchmark(name, "fake", (ms,), 0)

    eager, file, other_eager, other = row("eager", 4.0), row("a", 2.0), row("other eager", 10.0), row("b", 5.0)
    result = HostBenchmark((eager, file, other_eager, other), (eager, eager, other_eager, other_eager), SIZE, 1, {})
    assert [result.ratio(r) for r in result.results] == [1.0, 0.5, 1.0, 0.5]


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the subjects that a benchmark was to time, each run once; every latency is 1 ms."""
    names: list[str] = []

    def run(subjects: Sequence[Subject], runs: int, warmups: int, progress: Progress) -> list[Benchmark]:
        names.extend(subject.name for subject in subjects)
        for subject in subjects:
            subject.invoke()
        return [Benchmark(subject.name, subject.runner, (1.0,) * runs, warmups) for subject in subjects]

    monkeypatch.setattr(benchmarking, "run_interleaved", run)
    return names


def test_two_networks_in_a_folder_are_each_timed(
    exported: Path, photos: Path, tmp_path: Path, timed: list[str]
) -> None:
    torch.manual_seed(3)
    torch.save(SPANV2(channels=4, blocks=2, scale=3).state_dict(), tmp_path / "other.pth")
    onnx = tuple(target for target in TARGETS if target.name == "onnx-fp32")
    export(ExportRequest(targets=onnx, out=exported, weights=tmp_path / "other.pth", calibration=photos))
    result = bench(exported, SIZE, runs=1, warmups=0)
    assert timed[0] == "PyTorch eager spanv2_x2" and timed[-2:] == ["PyTorch eager spanv2_x3", "spanv2_x3-fp32.onnx"]
    assert {b.name for b in result.baselines} == {timed[0], timed[-2]} and result.baselines[-1].name == timed[-2]


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
    assert bench(out, runs=1).size == (24, 40)
    request_sizes("onnx-fp32", (12, 20))
    assert bench(out, runs=1).size == (12, 20), "one file is fixed to it"
    assert bench(exported_once.manifest.folder / "spanv2_x2-fp32.onnx", runs=1).size == (128, 128)


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
    bench(exported_once.manifest.folder / "spanv2_x2-fp32.onnx", SIZE, runs=1)


def test_a_changed_file_is_not_timed(exported: Path, timed: list[str]) -> None:
    shutil.copy(exported / "spanv2_x2-fp16.tflite", exported / "spanv2_x2-fp32.tflite")
    with pytest.raises(ArtifactError, match="was changed after its export"):
        bench(exported, SIZE)
    assert timed == []
