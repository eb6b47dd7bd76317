"""Which program runs the files on a device: our own runner, or a benchmark_model of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgesr.android_bench.delegates import XNNPACK, Delegate
from edgesr.android_bench.device_facts import DeviceFacts
from edgesr.android_bench.device_runner import BenchmarkModelRunner, DeviceRunner, EdgeSRRunner
from edgesr.android_bench.program_abi import refuse_foreign
from edgesr.android_bench.runner.bundle import DESCRIPTION, Platform, find_bundle, read_bundle
from edgesr.errors import DeviceError, EdgeSRError

PLATFORMS = {"arm64-v8a": Platform.LINUX_ARM64, "x86_64": Platform.LINUX_X86_64}
"""Our runner's bundle by the device's ABI."""


@dataclass(frozen=True)
class Program:
    """What runs the files: `path` is None for our own runner, a bundle's folder, or a benchmark_model."""

    path: Path | None = None
    delegate: Delegate = XNNPACK
    libraries: tuple[Path, ...] = ()
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what our own runner has no use for."""
        if self.path is None and not self.delegate.cpu:
            raise EdgeSRError(
                f"--delegate {self.delegate.name} needs a benchmark_model built for the device; give it with --runner"
            )
        if self.path is None and (self.libraries or self.options):
            raise EdgeSRError("--library and --runner-option go to a benchmark_model; give it with --runner")


def choose_runner(program: Program, facts: DeviceFacts) -> DeviceRunner:
    """The program, refused where it is for another ABI than the device's."""
    if program.path is None:
        return EdgeSRRunner(find_bundle(_platform(facts)))
    if (program.path / DESCRIPTION).is_file():
        runner: DeviceRunner = EdgeSRRunner(read_bundle(program.path)[0])
    else:
        runner = BenchmarkModelRunner(program.path, program.delegate, program.libraries, program.options)
    for part in runner.programs:
        refuse_foreign(part, facts.abis)
    return runner


def _platform(facts: DeviceFacts) -> Platform:
    for abi in facts.abis or tuple(PLATFORMS):
        if abi in PLATFORMS:
            return PLATFORMS[abi]
    raise DeviceError(
        f"edgesr's runner is built for {', '.join(PLATFORMS)}, the device runs {', '.join(facts.abis)}; "
        "give a program for it with --runner"
    )
