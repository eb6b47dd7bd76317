"""Latency of exported files on this machine, beside the PyTorch network they came from."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path

from edgesr.api.footprint import MEASURABLE, peak_memory
from edgesr.api.host_block import Block, BlockPlan, measure_block, measure_block_apart, merge_blocks
from edgesr.api.host_subjects import HostSpec, plan_subjects
from edgesr.api.verifying import proof_graph
from edgesr.artifact import Artifact, Manifest, locate
from edgesr.errors import ArtifactError, DeviceError, EdgeSRError
from edgesr.progress import Progress, silent
from edgesr.quantized import float_graph
from edgesr.runtime.bench import FEW_RUNS, Benchmark, block_runs, environment
from edgesr.runtime.bench_record import BenchRecord, now
from edgesr.runtime.idleness import OthersLoad

DEFAULT_SIZE = (128, 128)
FEW_WARMUPS = 5
BLOCKS = 16
"""Processes that share the runs: enough to tell a change of 5 % from what differs between processes (ADR 0011)."""
BYTES_PER_VALUE = 28
"""What a runtime was measured to hold, over the number of values of its largest tensor: seven float32 tensors of it."""
FEWEST_DB = 60.0
"""PSNR to PyTorch eager below which a float file's timed output is worth a warning; the proof is `verify parity`."""


def bench(
    path: Path,
    size: tuple[int, int] | None = None,
    runs: int = FEW_RUNS,
    warmups: int = FEW_WARMUPS,
    threads: Sequence[int] = (1,),
    progress: Progress = silent,
    *,
    runtimes: Sequence[str] = (),
    memory: bool = True,
    blocks: int = BLOCKS,
) -> BenchRecord:
    """Time an artifact, or every artifact of an export folder, beside PyTorch eager, at each number of threads.

    `size` is the input size (H, W); None takes the artifacts' own, or 128x128. `runtimes` names the runners (none: the
    first of each target). `blocks` is the number of processes that share the runs, at most one for each; every one
    warms up. A single one is this process, and its record cannot be compared. `memory` also measures each subject's
    peak, in a process of its own, where the system can. Raises `ArtifactError` and `EdgeSRError`, `DeviceError` where a
    process fails, ValueError for no runs or blocks.
    """
    manifest, artifacts = locate(path)
    size = size or common_size(artifacts)
    threads = tuple(dict.fromkeys(threads))
    specs, baselines = plan_subjects(artifacts, runtimes, threads)
    _refuse(manifest, specs, size)
    started = now()
    plan = BlockPlan(tuple(specs), tuple(baselines), size, runs, warmups)
    block = _measure(manifest, plan, min(blocks, runs), progress)
    results, others = list(block.results), block.others
    failures: list[str] = []
    if memory and MEASURABLE:
        results, failures = _with_memory(results, manifest, specs, size, progress)
    return BenchRecord(
        device="host", size=size, threads=threads[0], runs=runs, warmups=warmups, started=started,
        environment=dict(environment()) | _load_fields(others), results=tuple(results), baselines=tuple(baselines),
        warnings=(*(others.warnings if others else ()), *_parity_warnings(specs, results), *failures),
    )  # fmt: skip


def _measure(manifest: Manifest, plan: BlockPlan, blocks: int, progress: Progress) -> Block:
    """All blocks, one after the other, each in a process of its own; a single one in this process."""
    if blocks == 1:
        return measure_block(manifest, plan, progress)
    measured, first_turn = [], 0
    total = blocks * plan.warmups + plan.runs
    for runs in block_runs(plan.runs, blocks):
        part = dataclasses.replace(plan, runs=runs, first_turn=first_turn)
        report = functools.partial(_report_turn, progress, first_turn, total)
        measured.append(measure_block_apart(manifest, part, report))
        first_turn += part.turns
    return merge_blocks(measured)


def _report_turn(progress: Progress, before: int, total: int, stage: str, done: int, _: int) -> None:
    progress(stage, before + done, total)


def _parity_warnings(specs: Sequence[HostSpec], results: Sequence[Benchmark]) -> list[str]:
    found = []
    for spec, result in zip(specs, results, strict=True):
        parity = result.parity
        if parity is None or parity.psnr_db is None or spec.artifact.find_target().precision.is_integer:
            continue
        if parity.psnr_db < FEWEST_DB:
            found.append(
                f"{result.name}: the timed run's output is {parity.psnr_db:.1f} dB from {parity.reference}; "
                "check it with edgesr verify parity"
            )
    return found


def _with_memory(
    results: Sequence[Benchmark], manifest: Manifest, specs: Sequence[HostSpec], size: tuple[int, int],
    progress: Progress,
) -> tuple[list[Benchmark], list[str]]:  # fmt: skip
    """The results with each subject's peak, and what failed; the last thing done: no child disturbs a timed run."""
    measured, failures = [], []
    for done, (result, spec) in enumerate(zip(results, specs, strict=True)):
        progress("memory", done, len(specs))
        try:
            peak = peak_memory(manifest, spec.artifact.file, spec.runner, spec.threads, size)
            result = dataclasses.replace(result, peak_memory_bytes=peak)
        except DeviceError as error:  # what was timed is worth more than to be lost
            failures.append(str(error))
        measured.append(result)
    return measured, failures


def _load_fields(others: OthersLoad | None) -> dict[str, object]:
    return {} if others is None else {"others": dataclasses.asdict(others)}


def common_size(artifacts: tuple[Artifact, ...]) -> tuple[int, int]:
    """The size that some artifacts are fixed to; else the first that one was written for."""
    fixed = {size for artifact in artifacts if not artifact.contract.any_size for size in artifact.contract.sizes[:1]}
    if len(fixed) > 1:
        sizes = ", ".join(f"{height}x{width}" for height, width in sorted(fixed))
        raise ArtifactError(f"the artifacts have different fixed sizes ({sizes}); bench one file at a time")
    own = [artifact.contract.sizes[0] for artifact in artifacts if artifact.contract.sizes]
    return next(iter((*fixed, *own, DEFAULT_SIZE)))


def _refuse(manifest: Manifest, specs: Sequence[HostSpec], size: tuple[int, int]) -> None:
    """Raise `EdgeSRError` for a size that a file does not take, and where the networks would fill the machine.

    The system kills a process that fills it, unheard. TFLite files take the memory of their own size, too.
    """
    needed, largest = 0.0, size
    for artifact, runners in _runners_of_each(specs):
        refusal = artifact.contract.accepts(*size)
        if refusal:
            raise ArtifactError(f"{artifact.file}: {refusal}; give another --size")
        largest = max(largest, *artifact.contract.sizes[:1], size, key=math.prod)
        graph = proof_graph(manifest, artifact)
        if graph is not None:  # without one the file runs at the size alone that it was proved at when it was exported
            values = float(float_graph(graph).values_per_input_pixel) * math.prod(largest)
            needed += runners * BYTES_PER_VALUE * values
    available = available_bytes()
    if available is not None and needed > available:
        raise EdgeSRError(
            f"a run at {largest[0]}x{largest[1]} may need {needed / 1e9:.0f} GB of memory, {available / 1e9:.0f} GB "
            "are free; give a smaller --size, or one file of the folder"
        )


def _runners_of_each(specs: Sequence[HostSpec]) -> list[tuple[Artifact, int]]:
    """Every file, and how many subjects it is loaded in, PyTorch eager among them."""
    files = dict.fromkeys(spec.artifact.file for spec in specs)
    return [
        (next(s.artifact for s in specs if s.artifact.file == file), sum(s.artifact.file == file for s in specs))
        for file in files
    ]


def available_bytes() -> int | None:
    """Memory that programs can still have, None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
