"""Latency of exported files on this machine, beside the PyTorch network they came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgesr.api.proving import with_channels
from edgesr.api.verifying import proof_file
from edgesr.artifact import Artifact, Manifest, locate
from edgesr.errors import ArtifactError, EdgeSRError
from edgesr.graph_file import load_graph
from edgesr.images import load_rgb
from edgesr.model.reference import load_reference
from edgesr.progress import Progress, silent
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.quantized import float_graph
from edgesr.runtime.bench import Benchmark, Subject, environment, run_interleaved
from edgesr.runtime.cases import as_batch, cut
from edgesr.runtime.runners import open_runner
from edgesr.runtime.torch_runner import TorchRunner
from edgesr.threads import torch_threads

DEFAULT_SIZE = (128, 128)
BYTES_PER_VALUE = 28
"""What a runtime was measured to hold, over the number of values of its largest tensor: seven float32 tensors of it."""


@dataclass(frozen=True)
class HostBenchmark:
    """Results on this machine, and for each the PyTorch eager result of its network, to which it is a ratio."""

    results: tuple[Benchmark, ...]
    baselines: tuple[Benchmark, ...]
    size: tuple[int, int]
    threads: int
    environment: dict[str, object]

    def ratio(self, result: Benchmark) -> float:
        """A result's median over PyTorch eager's, from the same interleaved run."""
        return result.median_ms / self.baselines[self.results.index(result)].median_ms

    def warnings(self) -> list[str]:
        """What a reader should doubt."""
        return [warning for result in self.results for warning in result.warnings()]

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "device": "host",
            "emulated": False,
            "size": list(self.size),
            "threads": self.threads,
            "environment": self.environment,
            "results": [result.to_json() | {"ratio_to_torch": self.ratio(result)} for result in self.results],
            "warnings": self.warnings(),
        }


def bench(
    path: Path,
    size: tuple[int, int] | None = None,
    runs: int = 30,
    warmups: int = 5,
    threads: int = 1,
    progress: Progress = silent,
) -> HostBenchmark:
    """Time an artifact, or every artifact of an export folder, in the first runner of its target, beside PyTorch eager.

    `size` is the input size (H, W); None takes the artifacts' own, or 128x128. Raises `ArtifactError`.
    """
    manifest, artifacts = locate(path)
    size = size or common_size(artifacts)
    _refuse(manifest, artifacts, size)
    subjects: list[Subject] = []
    eager_of: list[int] = []
    with torch_threads(threads):
        for reference in dict.fromkeys(artifact.reference for artifact in artifacts):
            proven_by_it = [artifact for artifact in artifacts if artifact.reference == reference]
            eager_of += [len(subjects)] * (1 + len(proven_by_it))
            subjects.append(_eager(manifest, proven_by_it[0], size))
            subjects += [_subject(manifest, artifact, size, threads) for artifact in proven_by_it]
        results = run_interleaved(subjects, runs, warmups, progress)
    baselines = tuple(results[index] for index in eager_of)
    return HostBenchmark(tuple(results), baselines, size, threads, dict(environment()))


def _eager(manifest: Manifest, artifact: Artifact, size: tuple[int, int]) -> Subject:
    model = load_reference(proof_file(manifest, artifact, artifact.reference))
    runner, image = TorchRunner(model, torch.float32), bench_image(artifact, size)
    return Subject(f"PyTorch eager {model.name}", runner.name, lambda: runner.run(image))


def _subject(manifest: Manifest, artifact: Artifact, size: tuple[int, int], threads: int) -> Subject:
    target, path = artifact.find_target(), manifest.runnable(artifact)
    runner = open_runner(target.runners[0], target, path, artifact.contract, threads)
    runner.prepare(bench_image(artifact, size))
    return Subject(artifact.file, runner.name, runner.invoke)


def bench_image(artifact: Artifact, size: tuple[int, int]) -> np.ndarray:
    piece = with_channels(load_rgb(builtin_calibration_paths()[0]), artifact.contract.channels)
    return as_batch(cut(piece, size), artifact.contract).astype(np.float32)


def common_size(artifacts: tuple[Artifact, ...]) -> tuple[int, int]:
    """The size that some artifacts are fixed to; else the first that one was written for."""
    fixed = {size for artifact in artifacts if not artifact.contract.any_size for size in artifact.contract.sizes[:1]}
    if len(fixed) > 1:
        sizes = ", ".join(f"{height}x{width}" for height, width in sorted(fixed))
        raise ArtifactError(f"the artifacts have different fixed sizes ({sizes}); bench one file at a time")
    own = [artifact.contract.sizes[0] for artifact in artifacts if artifact.contract.sizes]
    return next(iter((*fixed, *own, DEFAULT_SIZE)))


def _refuse(manifest: Manifest, artifacts: Sequence[Artifact], size: tuple[int, int]) -> None:
    """Raise `EdgeSRError` for a size that a file does not take, and where the networks would fill the machine.

    The system kills a process that fills it, unheard. TFLite files take the memory of their own size, too.
    """
    needed, largest = 0.0, size
    for artifact in artifacts:
        refusal = artifact.contract.accepts(*size)
        if refusal:
            raise ArtifactError(f"{artifact.file}: {refusal}; give another --size")
        largest = max(largest, *artifact.contract.sizes[:1], size, key=math.prod)
        graph = float_graph(load_graph(proof_file(manifest, artifact, artifact.graph)))
        runners = 2 if artifact is artifacts[0] else 1  # PyTorch eager beside the first
        needed += runners * BYTES_PER_VALUE * float(graph.values_per_input_pixel) * math.prod(largest)
    available = available_bytes()
    if available is not None and needed > available:
        raise EdgeSRError(
            f"a run at {largest[0]}x{largest[1]} may need {needed / 1e9:.0f} GB of memory, {available / 1e9:.0f} GB "
            "are free; give a smaller --size, or one file of the folder"
        )


def available_bytes() -> int | None:
    """Memory that programs can still have, None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
