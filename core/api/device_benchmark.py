"""Benchmarks on devices: a phone over adb, several at once, or the emulated Arm64 device over the same adb.

Only TFLite files run there. Each is measured on one image, and what the timed run gave is compared with what LiteRT
gives on this machine. The emulated device counts instructions; its clock means nothing and is not reported.
"""

from __future__ import annotations

import datetime
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgesr.android_bench.adb import Adb, find_adb
from edgesr.android_bench.adb_device import AdbDevice, refuse_unready
from edgesr.android_bench.delegates import XNNPACK, Delegate
from edgesr.android_bench.device_facts import DeviceFacts, read_condition, read_facts
from edgesr.android_bench.device_runner import BenchmarkModelRunner, DeviceRunner, EdgeSRRunner
from edgesr.android_bench.emulated.device import EmulatedDevice
from edgesr.android_bench.measurement import DeviceFile, Measurement
from edgesr.android_bench.program_abi import refuse_foreign
from edgesr.android_bench.protocol import Protocol, prepare
from edgesr.android_bench.runner.bundle import DESCRIPTION, Platform, find_bundle, read_bundle
from edgesr.api.benchmarking import bench_image, common_size
from edgesr.artifact import Artifact, Manifest, locate
from edgesr.errors import ArtifactError, DeviceError, EdgeSRError
from edgesr.progress import Progress, silent
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_record import BenchRecord
from edgesr.runtime.instruction_counts import InstructionCounts
from edgesr.runtime.litert_runner import LiteRTRunner
from edgesr.target import Compiler, Format

ADB, ALL, EMULATED = "adb", "adb:all", "emulated"
PLATFORMS = {"arm64-v8a": Platform.LINUX_ARM64, "x86_64": Platform.LINUX_X86_64}
"""Our runner's bundle by the device's ABI."""
EMULATED_LABEL = "qemu-user cortex-a76: instructions are counted, no time is measured"
EMULATED_PROTOCOL = Protocol(runs=3, warmups=1, blocks=1, time_limit_s=1800)


@dataclass(frozen=True)
class DeviceOptions:
    """How to measure: the protocol, and what runs the files (None: our own runner)."""

    protocol: Protocol = field(default_factory=Protocol)
    adb: Path | None = None
    runner: Path | None = None
    delegate: Delegate = XNNPACK
    libraries: tuple[Path, ...] = ()
    runner_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceOutcome:
    """What came of one device: a record, partial where there is an `error`, or none; and the log of all it said."""

    device: str
    record: BenchRecord | None
    error: BaseException | None
    log: Path


def bench_on_devices(
    path: Path,
    device: str,
    size: tuple[int, int] | None = None,
    options: DeviceOptions | None = None,
    progress: Progress = silent,
) -> tuple[DeviceOutcome, ...]:
    """Measure the TFLite artifacts of an export on `device`: adb, adb:SERIAL, adb:all or emulated.

    `size` is the input size (H, W); None takes the artifacts' own. Raises `EdgeSRError` where nothing can start; what
    goes wrong on a device stands in its outcome, beside what had been measured.
    """
    options = options or DeviceOptions()
    manifest, artifacts = locate(path)
    chosen = _runnable(artifacts, options.delegate, path)
    files = _device_files(manifest, chosen, size or common_size(chosen), options.protocol.threads, progress)
    if device == EMULATED:
        return (_bench_emulated(files, options, progress),)
    adb = Adb(find_adb(options.adb))
    if device != ALL:
        serial = device.removeprefix(ADB).removeprefix(":") or None
        return (_bench_device(AdbDevice(adb, adb.choose(serial).serial), files, options, progress),)
    ready = [attached for attached in adb.attached() if attached.ready]
    if not ready:
        raise DeviceError("adb sees no device that is ready; see edgesr devices")
    with ThreadPoolExecutor(len(ready)) as pool:
        jobs = [pool.submit(_bench_device, AdbDevice(adb, one.serial), files, options, silent) for one in ready]
        return tuple(job.result() for job in jobs)


def _bench_device(
    device: AdbDevice, files: Sequence[DeviceFile], options: DeviceOptions, progress: Progress
) -> DeviceOutcome:
    """Measure on one phone. Whatever goes wrong is in the outcome."""
    log = _new_log(device.serial)
    name, facts, measurement = f"adb:{device.serial}", None, None
    try:
        refuse_unready(device)
        facts = read_facts(device)
        runner = _choose_runner(options, facts)
        measurement = Measurement(device, runner, files, options.protocol, log)
        start = prepare(lambda: read_condition(device), facts.cores, options.protocol, progress)
        measurement.run(start, progress)
        return DeviceOutcome(name, _record(name, facts, measurement, files, options.protocol), None, log)
    except (EdgeSRError, KeyboardInterrupt) as error:
        partial = measurement is not None and facts is not None and measurement.results()
        record = (
            _record(name, facts, measurement, files, options.protocol) if partial and facts and measurement else None
        )
        return DeviceOutcome(name, record, error, log)


def _bench_emulated(files: Sequence[DeviceFile], options: DeviceOptions, progress: Progress) -> DeviceOutcome:
    """Count on the emulated device, through the real adb; raises `MissingBackendError` where its parts are missing."""
    log = _new_log(EMULATED)
    protocol = EMULATED_PROTOCOL if options.protocol == Protocol() else options.protocol
    progress("starting the emulated device", 0, 1)
    with EmulatedDevice() as emulated:
        device = AdbDevice(Adb(emulated.adb, emulated.environment), emulated.serial)
        facts = read_facts(device)
        measurement = Measurement(device, _choose_runner(options, facts), files, protocol, log)
        try:
            measurement.run(prepare(lambda: read_condition(device), facts.cores, protocol), progress)
        except (EdgeSRError, KeyboardInterrupt) as error:
            return DeviceOutcome(EMULATED, None, error, log)
        counts = emulated.instruction_counts()
        results = counted(measurement.results(), counts, protocol)
        condition = measurement.start.condition.to_json() if measurement.start else {}
        environment = {"device": facts.to_json(), "condition": condition, "protocol": protocol.to_json()}
        record = _new_record(EMULATED, EMULATED_LABEL, files, protocol, environment, results, measurement.warnings())
    return DeviceOutcome(EMULATED, record, None, log)


def counted(results: Sequence[Benchmark], counts: Sequence[int], protocol: Protocol) -> tuple[InstructionCounts, ...]:
    """The instructions of every file's runs, which were counted in the order of its blocks.

    Raises `DeviceError` where runs and counts do not match: a count would stand beside the wrong file.
    """
    if len(counts) != protocol.runs * len(results):
        raise DeviceError(
            f"the emulator counted {len(counts)} runs, {protocol.runs * len(results)} were made; run it again"
        )
    by_file: list[list[int]] = [[] for _ in results]
    left = list(counts)
    for index, runs in enumerate(protocol.block_runs()):
        for offset in range(len(results)):
            taken, left = left[:runs], left[runs:]
            by_file[(index + offset) % len(results)] += taken
    return tuple(
        InstructionCounts(result.name, result.runner, tuple(taken), result.sha256, result.parity)
        for result, taken in zip(results, by_file, strict=True)
    )


def _choose_runner(options: DeviceOptions, facts: DeviceFacts) -> DeviceRunner:
    """The program to run, refused where it is for another ABI."""
    if options.runner is None:
        if not options.delegate.cpu:
            raise EdgeSRError(
                f"--delegate {options.delegate.name} needs a benchmark_model built for Android; give it with --runner"
            )
        return EdgeSRRunner(find_bundle(_platform(facts)))
    if (options.runner / DESCRIPTION).is_file():
        ours: DeviceRunner = EdgeSRRunner(read_bundle(options.runner)[0])
    else:
        ours = BenchmarkModelRunner(options.runner, options.delegate, options.libraries, options.runner_options)
    for program in ours.programs:
        refuse_foreign(program, facts.abis)
    return ours


def _platform(facts: DeviceFacts) -> Platform:
    for abi in facts.abis or tuple(PLATFORMS):
        if abi in PLATFORMS:
            return PLATFORMS[abi]
    raise DeviceError(
        f"edgesr's runner is built for {', '.join(PLATFORMS)}, the device runs {', '.join(facts.abis)}; "
        "give a program for it with --runner"
    )


def _runnable(artifacts: Sequence[Artifact], delegate: Delegate, path: Path) -> tuple[Artifact, ...]:
    """The TFLite files that the device's runtime loads; raises `ArtifactError` where there is none."""
    kinds = (None, Compiler.LITERT_AOT) if delegate.name == "litert-npu" else (None,)
    targets = [(artifact, artifact.find_target()) for artifact in artifacts]
    chosen = tuple(a for a, target in targets if target.format is Format.TFLITE and target.compiler in kinds)
    if not chosen:
        names = ", ".join(artifact.file for artifact in artifacts)
        raise ArtifactError(f"{path} holds no file that a phone's LiteRT runs ({names}); export a tflite target")
    return chosen


def _device_files(
    manifest: Manifest, artifacts: Sequence[Artifact], size: tuple[int, int], threads: int, progress: Progress
) -> list[DeviceFile]:
    """Each file with one image, and what LiteRT on this machine makes of it."""
    files = []
    for index, artifact in enumerate(artifacts):
        progress("reference on this machine", index, len(artifacts))
        refusal = artifact.contract.accepts(*size)
        if refusal:
            raise ArtifactError(f"{artifact.file}: {refusal}; give another --size")
        image = bench_image(artifact, size)
        reference = LiteRTRunner(manifest.runnable(artifact), artifact.contract, threads=threads)
        wanted: np.ndarray = reference.compute_tensor(image)
        files.append(
            DeviceFile(
                artifact.file, manifest.check(artifact), artifact.sha256, artifact.contract, size,
                artifact.contract.encode(image), wanted, f"{reference.name} on this machine",
            )
        )  # fmt: skip
    return files


def _record(
    name: str, facts: DeviceFacts, measurement: Measurement, files: Sequence[DeviceFile], protocol: Protocol
) -> BenchRecord:
    start, end = measurement.start, measurement.end
    environment: dict[str, object] = {
        "device": facts.to_json(),
        "protocol": protocol.to_json(),
        "before": start.condition.to_json() if start else None,
        "after": end.to_json() if end else None,
        "cores_mask": start.mask if start else None,
        "cooled_s": start.waited_s if start else None,
    }
    warnings = (*(start.warnings if start else ()), *measurement.warnings())
    return _new_record(name, None, files, protocol, environment, measurement.results(), warnings)


def _new_record(
    name: str, emulated: str | None, files: Sequence[DeviceFile], protocol: Protocol,
    environment: dict[str, object], results: Sequence[Benchmark] | Sequence[InstructionCounts], warnings: Sequence[str],
) -> BenchRecord:  # fmt: skip
    return BenchRecord(
        device=name,
        emulated=emulated,
        size=files[0].size,
        threads=protocol.threads,
        runs=protocol.runs,
        warmups=protocol.warmups,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        environment=environment,
        results=tuple(results),
        warnings=tuple(warnings),
    )


def _new_log(device: str) -> Path:
    """A file for all that is said on the device; it stays, so that an error can name it."""
    folder = Path(tempfile.mkdtemp(prefix="edgesr-bench-"))
    return folder / f"{re.sub(r'[^0-9A-Za-z.-]+', '-', device)}.log"
