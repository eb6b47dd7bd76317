"""Latency of a network on an NVIDIA GPU: PyTorch eager, torch.compile and the fused kernels, interleaved in one run.

What is timed is the network that exported files came from, not the files: PyTorch's module by PyTorch, and its folded
graph by the fused kernels, each captured in a CUDA graph and timed by CUDA events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from edgesr.api.benchmarking import FEW_WARMUPS, common_size
from edgesr.api.host_subjects import bench_image
from edgesr.api.verifying import proof_file
from edgesr.architecture import SRModel
from edgesr.artifact import IOContract, locate
from edgesr.errors import ArtifactError
from edgesr.export.capture import capture
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.model.checkpoint import sha256
from edgesr.model.reference import load_reference
from edgesr.progress import Progress, silent
from edgesr.runtime.bench import FEW_RUNS, Benchmark, Subject, environment, run_interleaved
from edgesr.runtime.bench_record import BenchRecord, now
from edgesr.runtime.cuda import contenders, replay
from edgesr.runtime.cuda.backend import EAGER, FUSED, Backend, eager_backend, fused_backend
from edgesr.runtime.cuda.contenders import Contender, Way, chosen_ways
from edgesr.runtime.cuda.fused_precision import FusedPrecision
from edgesr.runtime.output_parity import compare_outputs

DEVICE = "cuda"


@dataclass(frozen=True, eq=False)
class TimedNetwork:
    """The network to time: its module, the contract of its images, and the sha256 of its reference weights."""

    model: SRModel
    contract: IOContract
    sha256: str


def bench_on_cuda(
    path: Path,
    size: tuple[int, int] | None = None,
    runs: int = FEW_RUNS,
    warmups: int = FEW_WARMUPS,
    progress: Progress = silent,
    *,
    runtimes: Sequence[str] = (),
) -> BenchRecord:
    """Time the network of an artifact or an export folder on this machine's GPU.

    `size` is the input size (H, W); None takes the artifacts' own, or 128x128. `runtimes` names those beside PyTorch
    eager FP32 (none: all). Raises `DeviceError` without a GPU, `MissingBackendError` without Triton, `ArtifactError`
    for files that are gone or changed and for a folder of several networks, `UnsupportedOpError` for a network that is
    no SPANV2, and `EdgeSRError` for an unknown runtime.
    """
    ways = chosen_ways(runtimes)
    manifest, artifacts = locate(path)
    references = {artifact.reference: artifact for artifact in artifacts}
    if len(references) > 1:
        raise ArtifactError(f"{path} holds files of {len(references)} networks; give one of the files")
    ((reference, artifact),) = references.items()
    eager_backend()
    file = proof_file(manifest, artifact, reference)
    network = TimedNetwork(load_reference(file), artifact.contract, sha256(file))
    return time_network(network, size or common_size(artifacts), runs, warmups, ways, progress)


def time_network(
    network: TimedNetwork, size: tuple[int, int], runs: int, warmups: int, ways: Sequence[Way],
    progress: Progress = silent,
) -> BenchRecord:  # fmt: skip
    """Prepare every way to run the network and let them take turns; raises what `bench_on_cuda` raises.

    Ratios are to the first way, outputs are compared with its.
    """
    backend = _backend(ways)
    started, model = now(), network.model
    image = bench_image(network.contract, size)
    graph, _ = run_folds(capture(model, network.contract.channels), NATIVE_FOLDS)
    prepared: list[Contender] = []
    for done, way in enumerate(ways):
        progress("compile", done, len(ways))
        prepared.append(contenders.prepare(way, model, graph, image, backend.device))
    subjects = [
        Subject(f"{model.name} {one.precision.value}", one.runner, one.timed.replay, measure=one.timed.measure)
        for one in prepared
    ]
    results = run_interleaved(subjects, runs, warmups, progress)
    bandwidth = replay.copy_bandwidth(backend.device)
    return BenchRecord(
        device=DEVICE, size=size, threads=1, runs=runs, warmups=warmups, started=started,
        environment=dict(environment()) | _facts(backend, bandwidth),
        results=tuple(_described(network, prepared, index, result, bandwidth) for index, result in enumerate(results)),
        baselines=(0,) * len(results),
    )  # fmt: skip


def _backend(ways: Sequence[Way]) -> Backend:
    """The GPU that all ways run on; refuses early what the fused kernels would refuse late."""
    backend = eager_backend()
    if any(way.runner != EAGER for way in ways):  # torch.compile, too, writes its kernels in Triton
        fused_backend()
    return backend


def _described(
    network: TimedNetwork, prepared: Sequence[Contender], index: int, result: Benchmark, bandwidth: float
) -> Benchmark:
    one, first = prepared[index], prepared[0]
    parity = None
    if index:
        reference = f"{first.runner} in {first.precision.value}"
        parity = compare_outputs(one.output(), first.output(), reference, network.contract.value_range)
    fewest = _fewest_bytes(prepared, one.precision)
    return Benchmark(
        result.name, result.runner, result.latencies_ms, result.warmups, init_ms=one.init_ms, sha256=network.sha256,
        parity=parity, moved_bytes=one.moved_bytes, floor_ms=None if fewest is None else fewest / bandwidth * 1e3,
    )  # fmt: skip


def _fewest_bytes(prepared: Sequence[Contender], precision: FusedPrecision) -> int | None:
    """What the fused kernels move in a precision: the fewest that is known of; None where they do not run."""
    return next((c.moved_bytes for c in prepared if (c.runner, c.precision) == (FUSED, precision)), None)


def _facts(backend: Backend, bandwidth: float) -> dict[str, object]:
    return {"gpu": backend.name, "cuda": torch.version.cuda, "copy_bytes_per_second": bandwidth}
