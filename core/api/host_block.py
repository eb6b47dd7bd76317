"""One block of the host benchmark: every subject is loaded and takes turns in one process.

`measure_block` does it in this process. `measure_block_apart` starts one (`host_block_child`): where the system puts
memory, code and threads is drawn again with each process, and may cost or save several per cent of a latency, for all
of the process's runs alike. Only several processes show it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgesr import errors
from edgesr.api.host_subjects import HostSpec, HostSubject, as_picture, bench_image, open_subject
from edgesr.artifact import Manifest
from edgesr.errors import DeviceError, EdgeSRError
from edgesr.progress import Progress, silent
from edgesr.runtime.bench import Benchmark, Subject, run_interleaved
from edgesr.runtime.idleness import LoadWatch, OthersLoad
from edgesr.runtime.json_fields import Fields
from edgesr.runtime.output_parity import OutputParity, compare_outputs
from edgesr.threads import torch_threads

CHILD = "edgesr.api.host_block_child"
STAGE = "benchmark"


@dataclass(frozen=True)
class BlockPlan:
    """What one process times, in this order: each subject, the one that it is a ratio to by index, and how often.

    `size` is (H, W). `first_turn` is where in the cycle of orders the block starts.
    """

    specs: tuple[HostSpec, ...]
    baselines: tuple[int, ...]
    size: tuple[int, int]
    runs: int
    warmups: int
    first_turn: int = 0

    @property
    def turns(self) -> int:
        """How often each subject runs, warm-ups included."""
        return self.warmups + self.runs

    def to_json(self) -> dict[str, object]:
        """Plain values; files are named, as their manifest holds the rest."""
        rows = [{"file": spec.artifact.file, "runner": spec.runner, "threads": spec.threads} for spec in self.specs]
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return own | {"specs": rows}

    @classmethod
    def from_json(cls, fields: Fields, manifest: Manifest) -> BlockPlan:
        """What `to_json` wrote; raises `FieldError`, and `ArtifactError` for a file that the manifest lacks."""
        height, width = fields.integers("size", 1)
        return cls(
            tuple(
                HostSpec(manifest.find(row.text("file")), row.text("runner"), row.integer("threads", 1))
                for row in fields.children("specs")
            ),
            fields.integers("baselines"), (height, width), fields.integer("runs", 1), fields.integer("warmups"),
            fields.integer("first_turn"),
        )  # fmt: skip


@dataclass(frozen=True)
class Block:
    """One process's results, in the plan's order, and what others did on the machine during its runs."""

    results: tuple[Benchmark, ...]
    others: OthersLoad | None

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        others = None if self.others is None else dataclasses.asdict(self.others)
        return {"results": [result.to_json() for result in self.results], "others": others}

    @classmethod
    def from_json(cls, fields: Fields) -> Block:
        """What `to_json` wrote; raises `FieldError` and `ValueError`."""
        load = fields.child("others") if "others" in fields else None
        return cls(
            tuple(Benchmark.from_json(child) for child in fields.children("results")),
            None if load is None else OthersLoad(load.number("busy_cores"), load.number("stolen_cores")),
        )


def measure_block(manifest: Manifest, plan: BlockPlan, progress: Progress = silent) -> Block:
    """Load every subject, let them take turns, and compare each one's own output with its network's.

    Raises `ArtifactError` for files that are gone or changed.
    """
    threads = [spec.threads for spec in plan.specs]
    with torch_threads(threads[0]):
        subjects = _open_all(manifest, plan)
        calls = [_as_call(subject, max(threads)) for subject in subjects]
        watch = LoadWatch()
        results = run_interleaved(calls, plan.runs, plan.warmups, progress, plan.first_turn)
        others = watch.read()
        parities = [_parity(own, subjects[index]) for own, index in zip(subjects, plan.baselines, strict=True)]
    described = [
        dataclasses.replace(
            result, init_ms=subject.init_ms, sha256=subject.sha256, parity=parity, threads=subject.spec.threads
        )
        for result, subject, parity in zip(results, subjects, parities, strict=True)
    ]
    return Block(tuple(described), others)


def measure_block_apart(manifest: Manifest, plan: BlockPlan, progress: Progress = silent) -> Block:
    """The same in a process of its own, which ends with this one.

    Raises what `measure_block` raises there, and `DeviceError` with the log of a process that fails otherwise.
    """
    with tempfile.NamedTemporaryFile("w", prefix="edgesr-bench-", suffix=".log", delete=False) as file:
        code, said = _run_child(manifest.folder, plan, file, progress)
    log = Path(file.name)
    try:
        block = _read_answer(said[-1] if said else "")
    except EdgeSRError:
        log.unlink()
        raise
    except (ValueError, OverflowError) as error:
        with log.open("a", encoding="utf-8") as kept:
            kept.writelines(said)
        raise DeviceError(
            f"a process of the benchmark failed (exit code {code}), log in {log}; "
            "time one file at a time, or give a smaller --size"
        ) from error
    log.unlink()
    return block


def _run_child(folder: Path, plan: BlockPlan, log: IO[str], progress: Progress) -> tuple[int, list[str]]:
    """The child's exit code and what it printed beside its progress; it is killed where this is interrupted."""
    said: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", CHILD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        text=True, errors="replace", start_new_session=True,
    ) as child:  # fmt: skip
        assert child.stdin is not None and child.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it died, and its log says of what
                child.stdin.write(json.dumps(plan.to_json()))
                child.stdin.close()
            for line in child.stdout:
                done = _turn(line)
                if done is None:
                    said.append(line)
                else:
                    progress(STAGE, done, plan.turns)
        except BaseException:
            child.kill()
            raise
    return child.returncode, said


def _turn(line: str) -> int | None:
    """The turn that a line of progress reports, None for any other line."""
    stage, _, done = line.rstrip().partition(" ")
    return int(done) if stage == STAGE and done.isdecimal() else None


def answer_error(error: EdgeSRError) -> dict[str, object]:
    """A failure that the other process is to raise."""
    return {"error": str(error), "kind": type(error).__name__}


def _read_answer(line: str) -> Block:
    fields = Fields(json.loads(line))
    if "error" in fields:
        kind = getattr(errors, fields.text("kind"), None)
        known = kind if isinstance(kind, type) and issubclass(kind, EdgeSRError) else EdgeSRError
        raise known(fields.text("error"))
    return Block.from_json(fields)


def _open_all(manifest: Manifest, plan: BlockPlan) -> list[HostSubject]:
    """Every subject, loaded one after the other with nothing else at work.

    The first of each runner is loaded twice: the time of a load is the file's, not that of starting a library.
    """
    subjects: list[HostSubject] = []
    for spec in plan.specs:
        image = bench_image(spec.artifact.contract, plan.size)
        if all(subject.spec.runner != spec.runner for subject in subjects):
            open_subject(manifest, spec, image)
        subjects.append(open_subject(manifest, spec, image))
    return subjects


def _as_call(subject: HostSubject, most_threads: int) -> Subject:
    """One thread leaves none spinning: nothing to wait for."""
    settle = subject.settle if most_threads > 1 else None
    return Subject(subject.name, subject.spec.runner, subject.invoke, settle)


def _parity(subject: HostSubject, eager: HostSubject) -> OutputParity | None:
    """The timed run's own output beside that of PyTorch eager, which has none itself."""
    if subject is eager:
        return None
    artifact = subject.spec.artifact
    found, wanted = (as_picture(one.result(), artifact) for one in (subject, eager))
    return compare_outputs(found, wanted, f"{eager.name} in float32", artifact.contract.value_range)


def merge_blocks(blocks: Sequence[Block]) -> Block:
    """The blocks of one benchmark as one: samples in the order they were taken, split by `block_lengths`.

    Loading took the median over the processes; the output is the first block's, unless a later one lies further off.
    A single block has a turn for each run, and no lengths.
    """
    if len(blocks) == 1:
        return blocks[0]
    results = tuple(_merge(rows) for rows in zip(*(block.results for block in blocks), strict=True))
    return Block(results, _mean_load([block.others for block in blocks]))


def _merge(parts: Sequence[Benchmark]) -> Benchmark:
    loads = [part.init_ms for part in parts if part.init_ms is not None]
    parities = [part.parity for part in parts if part.parity is not None]
    return dataclasses.replace(
        parts[0],
        latencies_ms=tuple(ms for part in parts for ms in part.latencies_ms),
        block_lengths=tuple(len(part.latencies_ms) for part in parts),
        init_ms=statistics.median(loads) if loads else None,
        parity=max(parities, key=lambda parity: parity.max_difference) if parities else None,
    )


def _mean_load(loads: Sequence[OthersLoad | None]) -> OthersLoad | None:
    """Over blocks of about equal lengths; None where one does not tell."""
    known = [load for load in loads if load is not None]
    if len(known) < len(loads):
        return None
    return OthersLoad(
        statistics.fmean(load.busy_cores for load in known), statistics.fmean(load.stolen_cores for load in known)
    )
