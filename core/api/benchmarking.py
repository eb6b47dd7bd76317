"""Latency of exported files on this machine, beside the PyTorch network they came from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgesr.artifact import Artifact, Manifest, locate
from edgesr.errors import ArtifactError
from edgesr.model.reference import load_reference
from edgesr.progress import Progress, silent
from edgesr.quant.images import load_calibration_images
from edgesr.runtime.bench import Benchmark, Subject, environment, run_interleaved
from edgesr.runtime.cases import as_batch, cut
from edgesr.runtime.runners import open_runner
from edgesr.runtime.torch_runner import TorchRunner

DEFAULT_SIZE = (128, 128)


@dataclass(frozen=True)
class HostBenchmark:
    """Results on this machine; the first is PyTorch eager, to which the others are ratios."""

    results: tuple[Benchmark, ...]
    size: tuple[int, int]
    threads: int
    environment: dict[str, object]

    def ratio(self, result: Benchmark) -> float:
        """A result's median over PyTorch eager's, from the same interleaved run."""
        return result.median_ms / self.results[0].median_ms

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
    """Time an artifact, or every artifact of an export folder, on every runner of its target.

    `size` is the input size (H, W); None takes the artifacts' own fixed size, or 128x128. Raises `ArtifactError`.
    """
    manifest, artifacts = locate(path)
    size = size or _common_size(artifacts)
    model = load_reference(manifest.folder / artifacts[0].reference)
    image = as_batch(cut(load_calibration_images(None).pieces[0], size), artifacts[0].contract).astype(np.float32)
    eager = TorchRunner(model, torch.float32)
    with torch_threads(threads):
        subjects = [Subject("PyTorch eager", eager.name, lambda: eager.run(image))]
        for artifact in artifacts:
            subjects.append(_subject(manifest, artifact, image, threads))
        results = run_interleaved(subjects, runs, warmups, progress)
    return HostBenchmark(tuple(results), size, threads, dict(environment()))


def _subject(manifest: Manifest, artifact: Artifact, image: np.ndarray, threads: int) -> Subject:
    target, path = artifact.find_target(), manifest.check(artifact)
    runner = open_runner(target.runners[0], target, path, artifact.contract, threads)
    runner.prepare(image)
    return Subject(artifact.file, runner.name, runner.invoke)


def _common_size(artifacts: tuple[Artifact, ...]) -> tuple[int, int]:
    fixed = {size for artifact in artifacts if not artifact.contract.any_size for size in artifact.contract.sizes}
    if len(fixed) > 1:
        sizes = ", ".join(f"{height}x{width}" for height, width in sorted(fixed))
        raise ArtifactError(f"the artifacts have different fixed sizes ({sizes}); bench one file, or give --size")
    return fixed.pop() if fixed else DEFAULT_SIZE


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use that many threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
