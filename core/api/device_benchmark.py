"""Benchmarks on devices: a phone over adb, several at once, or the emulated Arm64 device over the same adb.

Only TFLite files run there. Each is measured on one image, and what the timed run gave is compared with what LiteRT
gives on this machine; where that differs, it is judged as every runtime is. The emulated device counts instructions:
its clock means nothing and is not reported.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from edgesr.android_bench.adb import Adb, Attached, find_adb
from edgesr.android_bench.adb_device import AdbDevice, refuse_unready
from edgesr.android_bench.device_facts import DeviceFacts, read_condition, read_facts
from edgesr.android_bench.emulated.device import EmulatedDevice
from edgesr.android_bench.measurement import DeviceFile, Measurement
from edgesr.android_bench.protocol import Protocol, prepare
from edgesr.api.benchmarking import common_size
from edgesr.api.device_parity import judge_output
from edgesr.api.device_programs import Program, choose_runner
from edgesr.api.host_subjects import bench_image
from edgesr.artifact import Artifact, Manifest, locate
from edgesr.errors import ArtifactError, DeviceError, EdgeSRError, ParityError
from edgesr.progress import Progress, silent
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_record import BenchRecord, Result, now
from edgesr.runtime.instruction_counts import InstructionCounts
from edgesr.runtime.litert_runner import LiteRTRunner
from edgesr.target import Compiler, Format

ADB, ALL, EMULATED = "adb", "adb:all", "emulated"
EMULATED_LABEL = "cortex-a76 by qemu-user"
EMULATOR_DOUBT = "this device is an emulator: its milliseconds say nothing about any phone"
EMULATED_PROTOCOL = Protocol(runs=3, warmups=2, blocks=1, time_limit_s=1800)


@dataclass(frozen=True)
class DeviceOptions:
    """How to measure (None: the device's own default), by which program, and with which adb."""

    protocol: Protocol | None = None
    program: Program = field(default_factory=Program)
    adb: Path | None = None


@dataclass(frozen=True)
class DeviceOutcome:
    """What came of one device: a record, partial where there is an `error`, or none; and the log of all it said."""

    device: str
    record: BenchRecord | None
    error: BaseException | None
    log: Path


@dataclass(frozen=True)
class _Job:
    """What is measured: the files, and where they came from; `stop` ends it."""

    manifest: Manifest
    artifacts: tuple[Artifact, ...]
    files: tuple[DeviceFile, ...]
    protocol: Protocol
    program: Program
    stop: threading.Event = field(default_factory=threading.Event)


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
    protocol = options.protocol or (EMULATED_PROTOCOL if device == EMULATED else Protocol())
    chosen = _runnable(artifacts, options.program, path)
    files = _device_files(manifest, chosen, size or common_size(chosen), protocol.threads, progress)
    job = _Job(manifest, chosen, files, protocol, options.program)
    if device == EMULATED:
        return (_bench_emulated(job, progress),)
    adb = Adb(find_adb(options.adb))
    if device != ALL:
        serial = device.removeprefix(ADB).removeprefix(":") or None
        return (_bench_phone(adb, adb.choose(serial).serial, job, progress),)
    attached = adb.attached()
    if not any(one.ready for one in attached):
        raise DeviceError("adb sees no device that is ready; see edgesr devices")
    left = [_refused(one) for one in attached if not one.ready]
    return (*_bench_phones(adb, [one.serial for one in attached if one.ready], job), *left)


def _refused(phone: Attached) -> DeviceOutcome:
    """A phone that cannot be measured beside those that can."""
    error = DeviceError(f"device {phone.serial} is {phone.state}; {phone.cure}")
    return DeviceOutcome(f"adb:{phone.serial}", None, error, _new_log(phone.serial))


def _bench_phones(adb: Adb, serials: Sequence[str], job: _Job) -> tuple[DeviceOutcome, ...]:
    """Measure on all at once. Ctrl-C reaches this thread alone: it stops the others, who then clean up."""
    with ThreadPoolExecutor(len(serials)) as pool:
        outcomes = [pool.submit(_bench_phone, adb, serial, job, silent) for serial in serials]
        try:
            wait(outcomes)
        except KeyboardInterrupt:
            job.stop.set()
        return tuple(outcome.result() for outcome in outcomes)


def _bench_phone(adb: Adb, serial: str, job: _Job, progress: Progress) -> DeviceOutcome:
    """Measure on one phone. Whatever goes wrong is in the outcome, a defect of ours too: others measure beside it."""
    log, name = _new_log(serial), f"adb:{serial}"
    device = AdbDevice(adb, serial, log)
    facts, measurement = DeviceFacts(), None
    try:
        refuse_unready(device)
        facts = read_facts(device)
        measurement = _measure(device, facts, job, log, progress)
        record = _record(name, None, job, facts, measurement.results(), measurement)
        return DeviceOutcome(name, record, _parity_error(job, measurement), log)
    except _BrokenOffError as broken:
        results = broken.measurement.results()
        if not results:
            return DeviceOutcome(name, None, broken.cause, log)
        record = _record(name, None, job, facts, results, broken.measurement)
        return DeviceOutcome(name, record, broken.cause, log)
    except (EdgeSRError, KeyboardInterrupt) as error:
        return DeviceOutcome(name, None, error, log)
    except Exception as error:
        found = DeviceError(
            f"a defect in edgesr ({type(error).__name__}: {error}) while {name} was measured; report it"
        )
        return DeviceOutcome(name, None, found, log)


def _bench_emulated(job: _Job, progress: Progress) -> DeviceOutcome:
    """Count on the emulated device, through the real adb; raises `MissingBackendError` where its parts are missing."""
    log = _new_log(EMULATED)
    progress("starting the emulated device", 0, 1)
    with EmulatedDevice() as emulated:
        device = AdbDevice(Adb(emulated.adb, emulated.environment), emulated.serial, log)
        try:
            facts = read_facts(device)
            measurement = _measure(device, facts, job, log, progress)
            results = counted(measurement.results(), emulated.instruction_counts(), job.protocol)
        except _BrokenOffError as broken:  # counts are exact and cheap: a part of them is worth no file
            return DeviceOutcome(EMULATED, None, broken.cause, log)
        except (EdgeSRError, KeyboardInterrupt) as error:
            return DeviceOutcome(EMULATED, None, error, log)
    record = _record(EMULATED, EMULATED_LABEL, job, facts, results, measurement)
    return DeviceOutcome(EMULATED, record, _parity_error(job, measurement, exact=True), log)


class _BrokenOffError(Exception):
    """A measurement that ended early, with what it had until then."""

    def __init__(self, measurement: Measurement, cause: BaseException) -> None:
        self.measurement = measurement
        self.cause = cause


def _measure(device: AdbDevice, facts: DeviceFacts, job: _Job, log: Path, progress: Progress) -> Measurement:
    """A measurement that came to its end; raises `_BrokenOffError` for one that did not."""
    runner = choose_runner(job.program, facts)
    measurement = Measurement(device, runner, job.files, job.protocol, log, job.stop)
    start = prepare(lambda: read_condition(device), facts.cores, job.protocol, progress, job.stop)
    try:
        measurement.run(start, progress)
    except (EdgeSRError, KeyboardInterrupt) as error:
        raise _BrokenOffError(measurement, error) from error
    return measurement


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
    for turn, runs in protocol.turns(len(results)):
        taken, left = left[:runs], left[runs:]
        by_file[turn] += taken
    return tuple(
        InstructionCounts(result.name, result.runner, tuple(taken), result.sha256, result.parity)
        for result, taken in zip(results, by_file, strict=True)
    )


def _parity_error(job: _Job, measurement: Measurement, exact: bool = False) -> EdgeSRError | None:
    """What fails of the outputs that are not this machine's; with `exact`, every integer file's does.

    Integer kernels of one version of XNNPACK give the same bytes everywhere. Float ones sum in the order that a
    processor's kernel has; for SPANV2's 32 and more channels that is the same on x86 and Arm, for other widths not.
    """
    try:
        why = list(_differences(job, measurement, exact))
    except EdgeSRError as error:  # what was measured is worth more than to be lost
        return error
    return ParityError(f"{'; '.join(why)}; compare runners with edgesr verify parity") if why else None


def _differences(job: _Job, measurement: Measurement, exact: bool) -> Iterator[str]:
    outputs = measurement.outputs()
    for result, artifact, file in zip(measurement.results(), job.artifacts, job.files, strict=True):
        if result.parity is None or result.parity.equal:
            continue
        row = judge_output(job.manifest, artifact, result.runner, file.image, outputs[file.name])
        if (exact and artifact.find_target().precision.is_integer) or not row.passed:
            differing = f"{result.parity.changed_share:.2%} of its values are not those of {result.parity.reference}"
            yield f"{file.name}: {differing}" + (f", {row.why}" if row.why else "")


def _runnable(artifacts: Sequence[Artifact], program: Program, path: Path) -> tuple[Artifact, ...]:
    """The TFLite files that the device's runtime loads; raises `ArtifactError` where there is none."""
    kinds = (None, Compiler.LITERT_AOT) if program.delegate.loads_compiled else (None,)
    targets = [(artifact, artifact.find_target()) for artifact in artifacts]
    chosen = tuple(a for a, target in targets if target.format is Format.TFLITE and target.compiler in kinds)
    if not chosen:
        names = ", ".join(artifact.file for artifact in artifacts)
        raise ArtifactError(f"{path} holds no file that a phone's LiteRT runs ({names}); export a tflite target")
    return chosen


def _device_files(
    manifest: Manifest, artifacts: Sequence[Artifact], size: tuple[int, int], threads: int, progress: Progress
) -> tuple[DeviceFile, ...]:
    """Each file with one image, and what LiteRT on this machine makes of it."""
    files = []
    for index, artifact in enumerate(artifacts):
        progress("reference on this machine", index, len(artifacts))
        refusal = artifact.contract.accepts(*size)
        if refusal:
            raise ArtifactError(f"{artifact.file}: {refusal}; give another --size")
        contract = artifact.contract
        image = bench_image(contract, contract.file_size(size))
        reference = LiteRTRunner(manifest.runnable(artifact), contract, threads=threads)
        files.append(
            DeviceFile(
                artifact.file, manifest.check(artifact), artifact.sha256, contract, contract.file_size(size), image,
                contract.encode(image), reference.compute_tensor(image), f"{reference.name} on this machine",
            )
        )  # fmt: skip
    return tuple(files)


def _environment(facts: DeviceFacts, measurement: Measurement, job: _Job) -> Mapping[str, object]:
    start, end = measurement.start, measurement.end
    return {
        "fingerprint": facts.identity,
        "device": facts.to_json(),
        "protocol": job.protocol.to_json(),
        "before": start.condition.to_json() if start else None,
        "after": end.to_json() if end else None,
        "cores_mask": start.mask if start else None,
        "cooled_s": round(start.waited_s, 1) if start else None,
        "block_summaries": measurement.summaries(),
    }


def _record(
    name: str, emulated: str | None, job: _Job, facts: DeviceFacts, results: Sequence[Result], measurement: Measurement
) -> BenchRecord:
    doubts = (EMULATOR_DOUBT,) if facts.emulator else ()
    warnings = (*doubts, *(measurement.start.warnings if measurement.start else ()), *measurement.warnings())
    return BenchRecord(
        device=name,
        emulated=emulated,
        size=job.files[0].size,
        threads=job.protocol.threads,
        runs=job.protocol.runs,
        warmups=job.protocol.warmups,
        started=now(),
        environment=_environment(facts, measurement, job),
        results=tuple(results),
        warnings=() if emulated else warnings,
    )


def _new_log(device: str) -> Path:
    """A file for all that is said on the device; it stays, so that an error can name it."""
    folder = Path(tempfile.mkdtemp(prefix="edgesr-bench-"))
    return folder / f"{re.sub(r'[^0-9A-Za-z.-]+', '-', device)}.log"
