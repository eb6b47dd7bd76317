"""What is timed on this machine: files in their runtimes and the PyTorch networks that they came from, ready to run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgesr.api.proving import with_channels
from edgesr.api.verifying import proof_file
from edgesr.artifact import Artifact, IOContract, Manifest
from edgesr.errors import EdgeSRError
from edgesr.images import load_rgb
from edgesr.model.checkpoint import sha256
from edgesr.model.reference import load_reference
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.runtime.cases import as_batch, cut
from edgesr.runtime.idleness import wait_until_idle
from edgesr.runtime.runners import FILE_RUNNERS, open_runner
from edgesr.runtime.torch_runner import TorchRunner
from edgesr.target import IODtype

EAGER = "torch-float32"
"""The runner's name of PyTorch eager."""


@dataclass(frozen=True)
class HostSpec:
    """One subject: a file in a runner, or with the runner `EAGER` the network that the file came from."""

    artifact: Artifact
    runner: str
    threads: int

    @property
    def is_eager(self) -> bool:
        """Whether it is the PyTorch network."""
        return self.runner == EAGER


@dataclass(frozen=True, eq=False)
class HostSubject:
    """A subject that was loaded and given its image: how long that took, and its calls."""

    spec: HostSpec
    name: str
    sha256: str
    init_ms: float
    invoke: Callable[[], object]
    result: Callable[[], np.ndarray]

    def settle(self) -> None:
        """Give torch its threads, and wait until no thread spins."""
        if self.spec.is_eager and torch.get_num_threads() != self.spec.threads:
            torch.set_num_threads(self.spec.threads)
        wait_until_idle()


def plan_subjects(
    artifacts: Sequence[Artifact], runtimes: Sequence[str], threads: Sequence[int]
) -> tuple[list[HostSpec], list[int]]:
    """All subjects, and for each by index the one that it is a ratio to: its network at as many threads.

    Without `runtimes`, each file runs in the first runner of its target. Raises `EdgeSRError` for an unknown or useless
    one.
    """
    chosen = {artifact.file: _runners(artifact, runtimes) for artifact in artifacts}
    _refuse_useless(runtimes, artifacts)
    specs: list[HostSpec] = []
    baselines: list[int] = []
    for reference in dict.fromkeys(artifact.reference for artifact in artifacts):
        files = [artifact for artifact in artifacts if artifact.reference == reference and chosen[artifact.file]]
        for count in threads if files else ():
            group = [HostSpec(files[0], EAGER, count)]
            group += [HostSpec(artifact, runner, count) for artifact in files for runner in chosen[artifact.file]]
            baselines += [len(specs)] * len(group)
            specs += group
    return specs, baselines


def _runners(artifact: Artifact, runtimes: Sequence[str]) -> tuple[str, ...]:
    runners = artifact.find_target().runners
    return tuple(name for name in runners if name in runtimes) if runtimes else runners[:1]


def _refuse_useless(runtimes: Sequence[str], artifacts: Sequence[Artifact]) -> None:
    for name in runtimes:
        usable = dict.fromkeys(runner for artifact in artifacts for runner in artifact.find_target().runners)
        if name not in FILE_RUNNERS:
            raise EdgeSRError(f"no runtime is called '{name}'; choose from {', '.join(usable)}")
        if name not in usable:
            raise EdgeSRError(f"runtime '{name}' runs none of these files here; choose from {', '.join(usable)}")


def open_subject(manifest: Manifest, spec: HostSpec, image: np.ndarray) -> HostSubject:
    """Load a subject and give it its image, timed; raises `ArtifactError` for files that are gone or changed."""
    artifact = spec.artifact
    if spec.is_eager:
        reference = proof_file(manifest, artifact, artifact.reference)
        digest = sha256(reference)
        started = time.perf_counter_ns()
        model = load_reference(reference)
        eager = TorchRunner(model, torch.float32)
        eager.prepare(image)
        init_ms = (time.perf_counter_ns() - started) / 1e6
        return HostSubject(spec, f"PyTorch eager {model.name}", digest, init_ms, eager.invoke, eager.result)
    path = manifest.runnable(artifact)
    digest = artifact.sha256 if artifact.source is None else artifact.companions[artifact.source]
    started = time.perf_counter_ns()
    runner = open_runner(spec.runner, artifact.find_target(), path, artifact.contract, spec.threads)
    runner.prepare(image)
    init_ms = (time.perf_counter_ns() - started) / 1e6
    return HostSubject(spec, artifact.file, digest, init_ms, runner.invoke, runner.result)


def bench_image(contract: IOContract, size: tuple[int, int]) -> np.ndarray:
    """The photograph that is run, (1, H, W, C) in the network's range: the first builtin one, cut or mirrored on."""
    piece = with_channels(load_rgb(builtin_calibration_paths()[0]), contract.channels)
    return as_batch(cut(piece, size), contract).astype(np.float32)


def as_picture(output: np.ndarray, artifact: Artifact) -> np.ndarray:
    """An output as the artifact could give it: within the image's range where its output type has no other values."""
    contract = artifact.contract
    return output if contract.dtype is IODtype.FLOAT32 else np.clip(output, 0.0, np.float32(contract.value_range))
