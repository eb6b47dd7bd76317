"""Measuring files on a device: blocks in turn, every sample kept, also those of a measurement that breaks off."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from edgesr.android_bench.adb_device import AdbDevice
from edgesr.android_bench.block import Block
from edgesr.android_bench.device_facts import Battery, Condition, read_condition
from edgesr.android_bench.device_runner import DeviceRunner, Task
from edgesr.android_bench.energy import energy_per_run
from edgesr.android_bench.protocol import Protocol, Start, warmed
from edgesr.android_bench.shell import Completed
from edgesr.android_bench.workspace import Workspace
from edgesr.artifact import IOContract
from edgesr.errors import DeviceError
from edgesr.progress import Progress, silent
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.output_parity import OutputParity, compare_outputs

MODEL_FILE, INPUT_FILE, OUTPUT_FILE = "model.tflite", "input.raw", "output.raw"


@dataclass(frozen=True, eq=False)
class DeviceFile:
    """A file to measure, its input, and what the host's runtime makes of that input.

    `image` (1, H, W, C) is the input in the network's value range, `data` the same as the file takes it, `wanted` the
    output tensor that the host computed, in the file's own type and shape.
    """

    name: str
    path: Path
    sha256: str
    contract: IOContract
    size: tuple[int, int]
    image: np.ndarray
    data: np.ndarray
    wanted: np.ndarray
    reference: str


@dataclass
class _State:
    """What has been measured of one file so far."""

    blocks: list[Block] = field(default_factory=list)
    batteries: list[tuple[Battery, Battery]] = field(default_factory=list)
    output: np.ndarray | None = None
    problem: str | None = None


class Measurement:
    """One measurement on one device. `run` may raise; `results` tells at any time what was measured until then.

    Another thread ends it by setting `stop`.
    """

    def __init__(
        self,
        device: AdbDevice,
        runner: DeviceRunner,
        files: Sequence[DeviceFile],
        protocol: Protocol,
        log: Path,
        stop: threading.Event | None = None,
    ) -> None:
        self._device = device
        self._runner = runner
        self._files = files
        self._protocol = protocol
        self._log = log
        self._stop = stop
        self._states = [_State() for _ in files]
        self._warnings: list[str] = []
        self.start: Start | None = None
        self.end: Condition | None = None

    def run(self, start: Start, progress: Progress = silent) -> None:
        """Measure every file in every block; on leaving, also by an exception, the device is clean.

        Raises `DeviceError`; samples that came before stay in `results`, marked as partial.
        """
        self.start = start
        try:
            with Workspace(self._device) as workspace, tempfile.TemporaryDirectory(prefix="edgesr-") as local:
                folder = workspace.put(self._runner.files, self._names_of_programs())
                models = [self._send(workspace, file, Path(local)) for file in self._files]
                self._run_blocks(workspace, folder, models, Path(local), progress)
        except BaseException as error:
            reason = str(error) if isinstance(error, DeviceError) else "interrupted"
            self._mark_partial(reason)
            raise
        self.end = read_condition(self._device)
        self._note(warmed(start.condition, self.end))

    def results(self) -> tuple[Benchmark, ...]:
        """The files that have samples, in their order."""
        pairs = zip(self._files, self._states, strict=True)
        return tuple(self._result(file, state) for file, state in pairs if state.blocks)

    def outputs(self) -> dict[str, np.ndarray]:
        """The output tensor of each file's last timed run, where it was read."""
        pairs = zip(self._files, self._states, strict=True)
        return {file.name: state.output for file, state in pairs if state.output is not None}

    def summaries(self) -> dict[str, list[dict[str, object]]]:
        """For runners that keep no single runs, what they say of each block."""
        pairs = zip(self._files, self._states, strict=True)
        found = {file.name: [asdict(block.summary) for block in state.blocks if block.summary] for file, state in pairs}
        return {name: blocks for name, blocks in found.items() if blocks}

    def warnings(self) -> tuple[str, ...]:
        """What a reader should doubt, beyond what the samples show."""
        return tuple(dict.fromkeys(self._warnings))

    def _run_blocks(
        self, workspace: Workspace, folder: str, models: Sequence[str], local: Path, progress: Progress
    ) -> None:
        total = self._protocol.blocks * len(self._files)
        for done, (turn, runs) in enumerate(self._protocol.turns(len(self._files))):
            if self._stop is not None and self._stop.is_set():
                raise DeviceError("interrupted")
            progress("measuring on the device", done, total)
            self._run_block(workspace, folder, turn, models[turn], runs, local)
        progress("measuring on the device", total, total)

    def _run_block(self, workspace: Workspace, folder: str, turn: int, model: str, runs: int, local: Path) -> None:
        file, state = self._files[turn], self._states[turn]
        workspace.keep_lock()
        before = read_condition(self._device).battery
        task = Task(
            f"{model}/{MODEL_FILE}", f"{model}/{INPUT_FILE}", f"{model}/{OUTPUT_FILE}", file.size,
            file.contract.channels, runs, self._protocol.warmups, self._protocol.threads,
            self.start.mask if self.start else None, self._protocol.delay_ms,
        )  # fmt: skip
        block = self._execute(workspace, folder, task, file.name, state)
        state.blocks.append(block)
        state.batteries.append((before, read_condition(self._device).battery))
        for warning in block.warnings:
            self._note(f"{file.name}: {warning}")
        if block.problem is not None:
            self._device.require_present("while it measured")
            raise DeviceError(f"{file.name} on {self._device.name}: {block.problem}; its log is {self._log}")
        if len(state.blocks) == self._protocol.blocks:
            state.output = self._fetch(task.output, file, local)

    def _execute(self, workspace: Workspace, folder: str, task: Task, name: str, state: _State) -> Block:
        """Run one process and read what it says; its whole output goes to the log, whatever happens.

        What a process had measured when it was stopped is added to `state`.
        """
        lines: list[str] = []
        command = workspace.command(folder, self._runner.command(task, folder))
        try:
            done = self._device.run(command, self._protocol.time_limit_s, lines.append, self._stop)
        except BaseException as error:
            self._device.note(command, "".join(lines), f"until then: {type(error).__name__}")
            block = self._rescue("".join(lines), str(error) or "interrupted")
            if block is not None:
                state.blocks.append(block)
            raise
        try:
            return self._runner.read(done)
        except DeviceError as error:
            self._device.require_present("while it measured")
            raise DeviceError(f"{name} on {self._device.name}: {error} ({self._log})") from error

    def _rescue(self, text: str, why: str) -> Block | None:
        """The samples of a block that broke off, where the runner prints them as they come."""
        try:
            block = self._runner.read(Completed(0, text))
        except DeviceError:
            return None
        return replace(block, problem=why)

    def _send(self, workspace: Workspace, file: DeviceFile, local: Path) -> str:
        raw = local / f"{file.sha256[:16]}-{INPUT_FILE}"
        raw.write_bytes(file.data.tobytes())
        return workspace.put({MODEL_FILE: file.path, INPUT_FILE: raw})

    def _fetch(self, remote: str, file: DeviceFile, local: Path) -> np.ndarray | None:
        """The output of the last timed run; None where the runner wrote none."""
        if not self._device.run(["test", "-f", remote]).succeeded:
            self._note(f"{file.name}: {self._runner.name} wrote no output, so its parity is not checked")
            return None
        pulled = local / OUTPUT_FILE
        self._device.pull(remote, pulled)
        content = pulled.read_bytes()
        if len(content) != file.wanted.nbytes:
            raise DeviceError(
                f"{file.name} on {self._device.name}: the output has {len(content)} bytes, {file.wanted.nbytes} are "
                "right; export the file again"
            )
        return np.frombuffer(content, file.wanted.dtype).reshape(file.wanted.shape)

    def _result(self, file: DeviceFile, state: _State) -> Benchmark:
        blocks = state.blocks
        first = blocks[0]
        runs = sum(block.summary.count if block.summary else len(block.latencies_ms) for block in blocks)
        energy = energy_per_run(state.batteries, runs + sum(block.warmups for block in blocks))
        memory = [block.peak_memory_bytes for block in blocks if block.peak_memory_bytes is not None]
        return Benchmark(
            name=file.name,
            runner=self._runner.name,
            latencies_ms=tuple(ms for block in blocks for ms in block.latencies_ms),
            warmups=first.warmups,
            block_lengths=tuple(len(block.latencies_ms) for block in blocks),
            runs_per_sample=tuple(block.summary.count for block in blocks if block.summary is not None),
            init_ms=first.init_ms,
            peak_memory_bytes=max(memory, default=None),
            sha256=file.sha256,
            parity=self._parity(file, state.output),
            placement=first.placement.words if first.placement else None,
            energy_mj=energy.millijoules if len(state.batteries) == len(blocks) else None,
            problem=state.problem,
        )

    def _parity(self, file: DeviceFile, output: np.ndarray | None) -> OutputParity | None:
        return None if output is None else compare_outputs(output, file.wanted, file.reference)

    def _mark_partial(self, reason: str) -> None:
        wanted = self._protocol.blocks
        for state in self._states:
            if len(state.blocks) < wanted or state.blocks[-1].problem is not None:
                state.problem = reason

    def _names_of_programs(self) -> list[str]:
        programs = set(self._runner.programs)
        return [name for name, path in self._runner.files.items() if path in programs]

    def _note(self, warning: str | None) -> None:
        if warning is not None:
            self._warnings.append(warning)
