"""Arm Ethos-U through Vela: a TFLite file compiled for an accelerator, where its operators run, and an estimate.

Vela replaces what the NPU takes by custom operators `ethos-u` and leaves the rest to the CPU, with a warning that says
why. So the compiled file itself says where each operator runs. Where Vela aborts, it is asked again with one kind of
operator after the other kept from the NPU, then with one operator of that kind after the other set aside: the one that
makes it work is the culprit.

Vela knows no DEPTH_TO_SPACE: networks get the fold `host-shuffle`. Its estimate leaves out what runs on the CPU.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgesr.errors import ArtifactError, ExportError, MissingBackendError
from edgesr.ethos_u import EthosU
from edgesr.export.npu.child_process import ChildResult, log_name, run_child
from edgesr.export.npu.placement import Evidence, OperatorPlacement, Place, Placement
from edgesr.export.npu.tflite_listing import ListedOperator, count_subgraphs, list_operators
from edgesr.export.npu.tflite_set_aside import set_aside
from edgesr.export.npu.vela_report import NpuEstimate, read_report

ARENA_BYTES = 2 * 1024 * 1024
TIME_LIMIT_S = 120.0
INSTALL = 'pip install "edgesr[ethos-u]"'
OLDEST = (5, 2)
NPU_OPERATOR = "ethos-u"
FAILS_ALL = "the whole file fails, not itself alone"
MAX_NARROWED = 16
"""Of how many operators of a kind the one that Vela fails over is looked for, a run of Vela for each."""
WARNING = re.compile(r"operator: (?P<kind>\S+), ofm: '(?P<name>[^']*)'\s*\nReason: (?P<reason>.+(?:\n.+)*)")

EDGES = "give the file integer images: --io int8, and convert on the host"
REMEDIES = {
    "DEPTH_TO_SPACE": "end the graph before it and shuffle on the host: --npu ethos-u85 does (fold host-shuffle)",
    "DEPTHWISE_CONV_2D": "make it a dense CONV_2D: the fold densify-grouped-conv does",
    "QUANTIZE": EDGES,
    "DEQUANTIZE": EDGES,
    "RESIZE_BILINEAR": "resize by 2, 4 or 8, or by nearest neighbour",
}
FLOAT_REMEDY = "quantize the network: --target tflite-int8"
OTHER_REMEDY = "replace it by convolutions, additions, products or ReLU, or do it on the host"


@dataclass(frozen=True)
class EthosCompiled:
    """A compiled file for one accelerator: its bytes, where its operators run, and what Vela estimates."""

    content: bytes
    placement: Placement
    estimate: NpuEstimate

    def require_whole(self) -> EthosCompiled:
        """Itself; raises `ExportError` where an operator stays on the CPU, with the reason and the cure."""
        left = [op for op in self.placement.operators if op.place is not Place.NPU]
        if left:
            first, more = left[0], f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise ExportError(
                f"{first.kind} '{first.name}'{more} would run on the CPU beside {self.placement.npu}: {first.reason}; "
                f"{first.remedy}; the compiler's output is in {self.placement.log}"
            )
        return self


@dataclass(frozen=True)
class _Job:
    """One file for one accelerator."""

    content: bytes
    operators: tuple[ListedOperator, ...]
    accelerator: EthosU
    arena_bytes: int
    log: Path
    time_limit_s: float
    source: str


@dataclass(frozen=True)
class _Compiled:
    """What a run of Vela left: the file, the two reports and what it printed."""

    content: bytes
    summary: str
    layers: str
    output: str


def vela_version() -> str:
    """Vela's version; raises `MissingBackendError` where it is missing or older than what is understood here."""
    try:
        version = importlib.metadata.version("ethos-u-vela")
    except importlib.metadata.PackageNotFoundError:
        raise MissingBackendError(f"Arm's compiler ethos-u-vela is not installed; run {INSTALL}") from None
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise MissingBackendError(
            f"ethos-u-vela {version} is too old, {wanted} is needed; run {INSTALL.replace('install', 'install -U')}"
        )
    return version


def compile_ethos_u(
    content: bytes, accelerator: EthosU, log_folder: Path, arena_cache_bytes: int = ARENA_BYTES,
    time_limit_s: float = TIME_LIMIT_S, source: str = "the model",
) -> EthosCompiled:  # fmt: skip
    """Compile a TFLite file of one image size; `source` is its name in errors and in the log's.

    Raises `ArtifactError` where it is no sound TFLite file, `MissingBackendError` without Vela, `ExportError` where
    Vela fails, hangs, prints garbage, or needs more SRAM than the arena has.
    """
    tool = f"Vela {vela_version()}"
    job = _job(content, accelerator, log_folder, arena_cache_bytes, time_limit_s, source)
    if count_subgraphs(content) != 1:
        raise ExportError(f"{source} holds several image sizes; an estimate is for one: export it with one --size")
    result, compiled = _run(job)
    if compiled is None:
        raise ExportError(f"{result.cause}; {_culprit(job)}; its output is in {result.log}")
    try:
        estimate = read_report(compiled.summary, compiled.layers, accelerator, arena_cache_bytes, tool)
    except ExportError as error:
        raise ExportError(f"{error}; its output is in {result.log}") from error
    _require_arena(estimate, source, result.log)
    return EthosCompiled(compiled.content, _placement(job, compiled, tool), estimate)


def place_on_ethos_u(
    path: Path, accelerator: EthosU, log_folder: Path, time_limit_s: float = TIME_LIMIT_S
) -> Placement:
    """Where the operators of any .tflite file run on an accelerator, as Vela says just now.

    Where Vela aborts over one operator, or over several of a kind, those are on the CPU with that as their reason: Vela
    alone makes nothing of such a file. Raises as `compile_ethos_u` does, but for sizes of SRAM.
    """
    tool = f"Vela {vela_version()}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}; give a .tflite file") from error
    job = _job(content, accelerator, log_folder, ARENA_BYTES, time_limit_s, path.name)
    result, compiled = _run(job)
    if compiled is not None:
        return _placement(job, compiled, tool)
    for kind in _kinds(job):
        without, compiled = _run(job, ignored=(kind,))
        if compiled is not None:
            aborts, log, compiled = _narrowed(job, kind, result.cause, without.log, compiled)
            return replace(_placement(job, compiled, tool, aborts), log=log)
    raise ExportError(f"{result.cause}; {_culprit(job)}; its output is in {result.log}")


def _job(
    content: bytes, accelerator: EthosU, log_folder: Path, arena_bytes: int, time_limit_s: float, source: str
) -> _Job:
    operators = list_operators(content, source)
    if any(op.kind == NPU_OPERATOR for op in operators):
        raise ArtifactError(f"{source} is already compiled for an Ethos-U; give the file that it was compiled from")
    if arena_bytes < 1:
        raise ExportError(f"an arena of {arena_bytes} bytes holds nothing; give some, like {ARENA_BYTES}")
    log = log_folder / log_name(source, accelerator.name, "vela")
    return _Job(content, operators, accelerator, arena_bytes, log, time_limit_s, source)


def _narrowed(
    job: _Job, kind: str, cause: str, log: Path, compiled: _Compiled
) -> tuple[dict[tuple[int, str], str], Path, _Compiled]:
    """Which operators of a kind Vela fails over, and why they are kept from it: the first that suffices, else all."""
    alike = [op for op in job.operators if op.kind == kind]
    for op in alike if 1 < len(alike) <= MAX_NARROWED else ():
        content = set_aside(job.content, [(op.subgraph, op.index)])
        result, found = _run(replace(job, content=content, log=job.log.with_suffix(f".without-{op.index}.log")))
        if found is not None:
            return {op.key: f"{FAILS_ALL}: {cause}, unless it is kept from the NPU"}, result.log, found
    return (
        dict.fromkeys((op.key for op in alike), f"{FAILS_ALL}: {cause}, unless {kind} is kept from the NPU"),
        log,
        compiled,
    )


def _run(job: _Job, ignored: Sequence[str] = ()) -> tuple[ChildResult, _Compiled | None]:
    """Run Vela once; None where it failed or left no whole result."""
    accelerator = job.accelerator
    log = job.log.with_suffix(f".without-{'-'.join(ignored)}.log") if ignored else job.log
    with tempfile.TemporaryDirectory(prefix="edgesr-vela-") as name:
        folder = Path(name)
        network = folder / "network.tflite"
        network.write_bytes(job.content)
        arguments = [
            sys.executable, "-m", "ethosu.vela", str(network), "--output-dir", str(folder / "out"),
            "--accelerator-config", accelerator.name, "--system-config", accelerator.system.name,
            "--memory-mode", accelerator.memory_mode.value, "--arena-cache-size", str(job.arena_bytes),
            "--verbose-performance", "--show-cpu-operations",
        ]  # fmt: skip
        arguments += [word for kind in ignored for word in ("--ignore-ops", kind)]
        result = run_child(f"Vela on {job.source}", arguments, log, job.time_limit_s)
        return result, _collect(folder / "out", accelerator, result) if result.code == 0 else None


def _collect(folder: Path, accelerator: EthosU, result: ChildResult) -> _Compiled:
    """The files that Vela says it wrote; raises `ExportError` where one is missing or no TFLite file."""
    try:
        content = (folder / "network_vela.tflite").read_bytes()
        summary = (folder / f"network_summary_{accelerator.system.name}.csv").read_text(encoding="utf-8")
        layers = (folder / "network_per-layer.csv").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        missing = Path(str(getattr(error, "filename", None) or "its reports")).name
        raise ExportError(f"{result.tool} ended well but left no readable {missing}; see {result.log}") from error
    return _Compiled(content, summary, layers, result.output)


def _placement(
    job: _Job, compiled: _Compiled, tool: str, aborts: dict[tuple[int, str], str] | None = None
) -> Placement:
    try:
        left = list_operators(compiled.content, f"{tool}'s file")
    except ArtifactError as error:
        raise ExportError(f"{tool} wrote no sound file for {job.source} ({error}); see {job.log}") from error
    partitions = sum(op.kind == NPU_OPERATOR for op in left)
    on_cpu = {op.key for op in left if op.kind != NPU_OPERATOR}
    strangers = on_cpu - {op.key for op in job.operators}
    if strangers:
        raise ExportError(f"{tool} left '{min(strangers)[1]}' behind, which {job.source} does not have; see {job.log}")
    reasons = {found["name"]: " ".join(found["reason"].split()) for found in WARNING.finditer(compiled.output)}
    operators = tuple(_place(op, op.key in on_cpu, reasons, aborts or {}) for op in job.operators)
    return Placement(job.accelerator.name, Evidence.COMPILED, tool, operators, partitions, job.log)


def _place(
    op: ListedOperator, on_cpu: bool, reasons: dict[str, str], aborts: dict[tuple[int, str], str]
) -> OperatorPlacement:
    if not on_cpu:
        return OperatorPlacement(op.name, op.kind, Place.NPU)
    reason = aborts.get(op.key) or reasons.get(op.name) or "Vela left it to the CPU without a reason"
    usual = REMEDIES.get(op.kind, OTHER_REMEDY)
    remedy = FLOAT_REMEDY if "DataType Float" in reason and usual is not EDGES else usual
    return OperatorPlacement(op.name, op.kind, Place.CPU, reason, remedy)


def _kinds(job: _Job) -> tuple[str, ...]:
    """The builtin kinds of a file, each once."""
    return tuple(dict.fromkeys(op.kind for op in job.operators if op.kind.isupper()))


def _culprit(job: _Job) -> str:
    """Which operator Vela fails over, and the cure."""
    for kind in _kinds(job):
        if _run(job, ignored=(kind,))[1] is not None:
            names = [f"'{op.name}'" for op in job.operators if op.kind == kind]
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            return f"it works once {kind} ({shown}) is kept from the NPU: {REMEDIES.get(kind, OTHER_REMEDY)}"
    return "no single kind of operator is the cause: is the file whole, does LiteRT run it?"


def _require_arena(estimate: NpuEstimate, source: str, log: Path) -> None:
    """Raise `ExportError` where a network needs more SRAM than there is: such an estimate is for no real system."""
    if estimate.peak_sram_bytes <= estimate.arena_bytes:
        return
    needed, given = (-(-count // 1024) for count in (estimate.peak_sram_bytes, estimate.arena_bytes))
    raise ExportError(
        f"{source} needs {needed} KiB of SRAM on {estimate.npu}, the arena has {given} KiB (most at "
        f"{estimate.busiest.operator} '{estimate.busiest.name}'); export a smaller --size, or take an accelerator with "
        f"DRAM (ethos-u65, ethos-u85); the compiler's output is in {log}"
    )
