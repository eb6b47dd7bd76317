"""The programs that run a file on a device: what they need there, their command lines, and how their output is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Protocol

from edgesr.android_bench.benchmark_model import ignored_flags, read_output
from edgesr.android_bench.block import Block
from edgesr.android_bench.delegates import XNNPACK, Delegate
from edgesr.android_bench.runner.bundle import Bundle
from edgesr.android_bench.runner_events import read_events
from edgesr.android_bench.shell import NOT_FOUND, Completed
from edgesr.artifact import INPUT_NAME
from edgesr.errors import DeviceError, EdgeSRError

MISSING_LIBRARY = re.compile(r"error while loading shared libraries: (\S+?):|library \"([^\"]+)\" not found")
WRONG_FORMAT = re.compile(r"Exec format error|not executable: .*ELF|cannot execute binary file")
NOT_EXECUTABLE = 126
SIGNAL_BASE = 128
SIGNALS: Mapping[int, str] = {4: "an illegal instruction", 6: "abort", 7: "a bus error", 9: "kill (out of memory?)",
                              11: "a segmentation fault"}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One process to run: the model and the files of its input and output on the device, and how often it runs.

    `mask` is taskset's hexadecimal mask of cores, None for all; `size` the input's (H, W).
    """

    model: str
    input: str
    output: str
    size: tuple[int, int]
    channels: int
    runs: int
    warmups: int
    threads: int
    mask: str | None = None
    delay_ms: int = 0


class DeviceRunner(Protocol):
    """A program for a device."""

    @property
    def name(self) -> str:
        """For results: the program, and what it computes on."""

    @property
    def programs(self) -> tuple[Path, ...]:
        """What the device must be able to start."""

    @property
    def files(self) -> Mapping[str, Path]:
        """What is sent to the device, by the names that it has there, all in one folder."""

    def command(self, task: Task, folder: str) -> list[str]:
        """The command line, to be run in the folder that holds the files."""

    def read(self, done: Completed) -> Block:
        """What it measured; raises `DeviceError` where it measured nothing."""


@dataclass(frozen=True)
class EdgeSRRunner:
    """Our own runner, on LiteRT's C API and the CPU: every run is kept, and the last one's output."""

    bundle: Bundle

    @property
    def name(self) -> str:
        """Ours, with the version of LiteRT in the bundle."""
        return f"edgesr_runner (LiteRT {self.bundle.litert}, XNNPACK)"

    @property
    def programs(self) -> tuple[Path, ...]:
        """The program itself; the loader that a glibc bundle brings runs wherever that runs."""
        return (self.bundle.folder / "edgesr_runner",)

    @property
    def files(self) -> Mapping[str, Path]:
        """The bundle."""
        return {name: self.bundle.folder / name for name in self.bundle.files}

    def command(self, task: Task, folder: str) -> list[str]:
        """Options of the contract in runner/edgesr_runner.c."""
        options = {
            "model": task.model, "input": task.input, "output": task.output, "runs": task.runs,
            "warmup": task.warmups, "threads": task.threads, "delay-ms": task.delay_ms,
            "size": f"{task.size[0]}x{task.size[1]}",
        }  # fmt: skip
        masked = [f"--affinity={task.mask}"] if task.mask else []
        return [*self.bundle.command, *(f"--{name}={value}" for name, value in options.items()), *masked]

    def read(self, done: Completed) -> Block:
        """The events; a program that failed before any is told of by how it ended."""
        if '{"event"' not in done.stdout:
            raise refusal(self.name, done)
        block = read_events(done.stdout)
        if not block.latencies_ms:
            raise DeviceError(f"{self.name}: {block.problem or 'it reported no run'}")
        if not done.succeeded and block.problem is None:
            return replace(block, problem=f"it reported all runs, then {_ending(done.code)}")
        return block


@dataclass(frozen=True)
class BenchmarkModelRunner:
    """A benchmark_model binary of the user's, TensorFlow Lite's or LiteRT's, with a delegate and its libraries.

    It keeps no single runs: a block's sample is its mean.
    """

    program: Path
    delegate: Delegate = XNNPACK
    libraries: tuple[Path, ...] = ()
    options: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Refuse a delegate whose libraries are not given, and libraries that are no files."""
        for library in self.libraries:
            if not library.is_file():
                raise EdgeSRError(f"{library} is no file; give a library with --library")
        given = [library.name for library in self.libraries]
        twice = next((name for name in given if given.count(name) > 1), None)
        if twice is not None:
            raise EdgeSRError(f"two libraries are called {twice}; give one of them with --library")
        missing = [name for name in self.delegate.libraries if name not in given]
        if missing:
            raise EdgeSRError(f"--delegate {self.delegate.name} needs {missing[0]}; give it with --library FILE")

    @property
    def name(self) -> str:
        """The program's name and the delegate's."""
        return f"{self.program.name} ({self.delegate.name})"

    @property
    def programs(self) -> tuple[Path, ...]:
        """The program. Its libraries are for other processors too, as a DSP's skeleton is."""
        return (self.program,)

    @property
    def files(self) -> Mapping[str, Path]:
        """The program as `benchmark_model`, and the libraries beside it."""
        return {"benchmark_model": self.program} | {library.name: library for library in self.libraries}

    def command(self, task: Task, folder: str) -> list[str]:
        """benchmark_model's flags. Older ones do not know all of them, and say so; that is kept as a warning."""
        height, width = task.size
        flags = [
            f"--graph={task.model}", f"--num_threads={task.threads}",
            f"--num_runs={task.runs}", f"--warmup_runs={task.warmups}",
            "--min_secs=0", "--warmup_min_secs=0", f"--run_delay={task.delay_ms / 1000 or -1:g}",
            f"--input_layer={INPUT_NAME}", f"--input_layer_shape=1,{height},{width},{task.channels}",
            f"--input_layer_value_files={INPUT_NAME}:{task.input}", f"--output_filepath={task.output}",
        ]  # fmt: skip
        flags += self._delegate_flags(folder)
        libraries = ["env", f"LD_LIBRARY_PATH={folder}", f"ADSP_LIBRARY_PATH={folder}"]
        pinned = ["taskset", task.mask] if task.mask else []
        return [*libraries, *pinned, str(PurePosixPath(folder) / "benchmark_model"), *flags, *self.options]

    def read(self, done: Completed) -> Block:
        """Its timings; raises `DeviceError` for how it ended, where it printed none or failed."""
        text = f"{done.stdout}\n{done.stderr}"
        if not done.succeeded or not text.strip():
            raise refusal(self.name, done)
        ignored = ignored_flags(text)
        lost = next((flag for flag in self._delegate_flags("") if flag.partition("=")[0] in ignored), None)
        if lost is not None:
            raise DeviceError(
                f"{self.name} does not know {lost.partition('=')[0]}, so all ran on the CPU; take another"
            )
        return read_output(text, not self.delegate.cpu)

    def _delegate_flags(self, folder: str) -> list[str]:
        return [flag.replace("{library}", folder) for flag in self.delegate.flags]


def refusal(name: str, done: Completed) -> DeviceError:
    """Why a program measured nothing: what it lacks, the signal that killed it, or its last words."""
    text = f"{done.stdout}\n{done.stderr}"
    library = MISSING_LIBRARY.search(text)
    if library is not None:
        lacking = next(group for group in library.groups() if group)
        return DeviceError(f"{name} needs {lacking}, which the device lacks; give it with --runner and --library")
    if done.code in (NOT_EXECUTABLE, NOT_FOUND) or WRONG_FORMAT.search(text):
        return DeviceError(
            f"{name} cannot start: {done.last_words}; give a program built for this device with --runner"
        )
    if done.code > SIGNAL_BASE:
        return DeviceError(f"{name} {_ending(done.code)}; see its log")
    if done.succeeded and not text.strip():
        return DeviceError(f"{name} printed nothing; give a benchmark program with --runner")
    return DeviceError(f"{name} ended with code {done.code}: {done.last_words}; see its log")


def _ending(code: int) -> str:
    """How a program ended, by the code that a shell gives."""
    if code <= SIGNAL_BASE:
        return f"ended with code {code}"
    number = code - SIGNAL_BASE
    return f"was ended by {SIGNALS.get(number, f'signal {number}')}"
