"""Compiling a proven file for one NPU: a vendor's compiler takes all of it, or the export fails and says why.

A compiler's whole output goes to a log, which stays where it failed: its error names the place.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgesr.api.export_request import Job
from edgesr.errors import ExportError
from edgesr.ethos_u import find_ethos_u
from edgesr.export.npu.ethos_u import compile_ethos_u
from edgesr.export.npu.litert_aot import compile_litert_aot
from edgesr.export.npu.placement import Place, Placement
from edgesr.export.npu.qnn import compile_qnn
from edgesr.graph import Graph
from edgesr.ops import DepthToSpace
from edgesr.qualcomm import find_soc
from edgesr.target import Compiler


@dataclass(frozen=True, eq=False)
class CompiledFile:
    """A file as it ships, what lies beside it by name, and what the manifest records of how it was compiled."""

    content: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)


QNN_BLOCK, QNN_TILE, QNN_WHOLE = 4, 32, 28
"""QNN 2.51 shuffles in tiles of 32 columns, and errs where the last one has 29 to 31: see `refuse_width`."""


def refuse_width(job: Job, graph: Graph, sizes: Sequence[tuple[int, int]]) -> None:
    """Raise `ExportError` for a width at which a compiler is known to compute something else, without a word.

    QNN 2.51's 8-bit DEPTH_TO_SPACE of block 4 fills the first columns with other pixels where the width is 29, 30 or 31
    beyond a multiple of 32 (seen on the emulator with single operators on SM8550 and SM8750, 2026-11-25; block 2 and
    all other widths tried are right).
    """
    last = graph.producer(graph.output)
    if job.target.compiler is not Compiler.QNN or not isinstance(last, DepthToSpace) or last.block != QNN_BLOCK:
        return
    for height, width in sizes:
        if width % QNN_TILE > QNN_WHOLE:
            safe = width // QNN_TILE * QNN_TILE
            raise ExportError(
                f"--size {height}x{width}: QNN 2.51 gets the first columns of a x4 shuffle wrong at this width; choose "
                f"{height}x{safe + QNN_WHOLE} or {height}x{safe + QNN_TILE}"
            )


def compile_file(content: bytes, job: Job, file: str) -> CompiledFile:
    """Compile what a job's target is made from into the file of that name.

    Raises `MissingBackendError`, and `ExportError` where the compiler fails or would leave anything to the CPU.
    """
    assert job.target.compiler is not None
    with compiler_logs() as logs:
        return COMPILE[job.target.compiler](content, job, file, logs)


@contextmanager
def compiler_logs() -> Iterator[Path]:
    """A folder for what compilers say, which goes unless the block fails and something was said."""
    logs = Path(tempfile.mkdtemp(prefix="edgesr-compiler-log-"))
    try:
        yield logs
    except BaseException:
        if not any(logs.iterdir()):
            logs.rmdir()
        raise
    shutil.rmtree(logs, ignore_errors=True)


def _qnn(content: bytes, job: Job, file: str, logs: Path) -> CompiledFile:
    with tempfile.TemporaryDirectory(prefix="edgesr-qnn-") as name:
        folder = Path(name)
        made = compile_qnn(content, find_soc(job.npu.name), Path(file).stem, folder, logs)
        facts = _facts(made.placement, {"seconds": made.seconds})
        beside = {made.binary: (folder / made.binary).read_bytes()}
        return CompiledFile((folder / made.wrapper).read_bytes(), beside, facts)


def _vela(content: bytes, job: Job, file: str, logs: Path) -> CompiledFile:
    made = compile_ethos_u(content, find_ethos_u(job.npu.name), logs, source=file).require_whole()
    return CompiledFile(made.content, {}, _facts(made.placement, {"estimate": made.estimate.as_json()}))


def _litert_aot(content: bytes, job: Job, file: str, logs: Path) -> CompiledFile:
    made = compile_litert_aot(content, find_soc(job.npu.name).part, logs, source=file)
    _refuse_partial(made.placement, file)
    return CompiledFile(made.content, {}, _facts(made.placement, {}))


def _refuse_partial(placement: Placement, file: str) -> None:
    left = [op for op in placement.operators if op.place is not Place.NPU]
    if left:
        first, more = left[0], f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise ExportError(
            f"{file}: {first.kind} '{first.name}'{more} would run on the CPU beside {placement.npu}: {first.reason}; "
            f"{first.remedy}; the compiler's output is in {placement.log}"
        )


def _facts(placement: Placement, more: Mapping[str, object]) -> dict[str, object]:
    whole = {"operators": len(placement.operators), "on_npu": placement.count(Place.NPU)}
    compiled = {"npu": placement.npu, "compiler": placement.source, "partitions": placement.partitions}
    return {"compiled": {**compiled, **whole, **more}}


COMPILE: Mapping[Compiler, Callable[[bytes, Job, str, Path], CompiledFile]] = {
    Compiler.QNN: _qnn,
    Compiler.VELA: _vela,
    Compiler.LITERT_AOT: _litert_aot,
}
