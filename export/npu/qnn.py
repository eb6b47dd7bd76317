"""Qualcomm's HTP through onnxruntime-qnn: context binaries, and where the operators of any ONNX file would run.

A context binary is the graph as QNN compiled it for one SoC, `<stem>_qnn.bin`; beside it lies `<stem>.onnx`, a wrapper
of one EPContext node with the file's inputs, outputs and metadata, which names the binary relative to itself. The two
may be moved and copied together. QNN works in a child process with a time limit (see `qnn_worker`).
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgesr.atomic import write_atomically
from edgesr.errors import ExportError
from edgesr.export.npu.onnx_nodes import is_compiled, nodes_of, read_onnx, with_names
from edgesr.export.npu.placement import Placement
from edgesr.export.npu.qnn_placement import placement_of
from edgesr.export.npu.qnn_process import TIME_LIMIT_S, Answer, Job, run_worker
from edgesr.qnn_session import COMPILED_KIND, PROVIDER, new_log, qnn_versions
from edgesr.qualcomm import Soc

BINARY_SUFFIX = "_qnn.bin"
"""What ONNX Runtime appends to the wrapper's stem."""


@dataclass(frozen=True)
class CompiledContext:
    """The names of the wrapper and the binary in their folder, the seconds QNN took, and where each operator went."""

    wrapper: str
    binary: str
    seconds: float
    placement: Placement


def compile_qnn(
    content: bytes, soc: Soc, stem: str, folder: Path, log_folder: Path | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> CompiledContext:  # fmt: skip
    """Compile an ONNX file whole for a SoC and write `<stem>.onnx` and `<stem>_qnn.bin` into a folder.

    The compiler's output is kept in `log_folder`; where that is None, only after a failure. Raises
    `MissingBackendError`, and `ExportError` for a graph that does not run whole on the NPU.
    """
    if not stem or Path(stem).name != stem:
        raise ExportError(f"'{stem}' is no name of a file; give one without folders")
    qnn_versions()
    with tempfile.TemporaryDirectory(prefix="edgesr-qnn-") as name:
        scratch = Path(name)
        made = scratch / "made" / f"{stem}.onnx"
        made.parent.mkdir()
        path = scratch / "model.onnx"
        path.write_bytes(content)
        model = with_names(read_onnx(path))
        onnx.save(model, path)
        log = _log(log_folder, f"{stem}_qnn.log")
        job = Job(path, stem, soc, whole=True, log=log, context=made, time_limit_s=time_limit_s)
        answer, placement = _ask(job, model, scratch, keep=log_folder is not None)
        _refuse_partial(job, answer)
        binary = _checked(job, made)
        for source in (binary, made):  # the wrapper last: where it is, its binary is
            with write_atomically(folder / source.name) as temporary:
                shutil.copyfile(source, temporary)
    return CompiledContext(made.name, binary.name, answer.seconds, placement)


def place_on_qnn(path: Path, soc: Soc, log_folder: Path | None = None, time_limit_s: float = TIME_LIMIT_S) -> Placement:
    """Where the operators of any ONNX file run on a SoC; those that QNN refuses are listed on the CPU with its reason.

    Raises `MissingBackendError`, `ArtifactError` for what is no ONNX file, and `ExportError` where QNN fails.
    """
    qnn_versions()
    found = read_onnx(path)
    with tempfile.TemporaryDirectory(prefix="edgesr-qnn-") as name:
        scratch = Path(name)
        model, source = found, path
        if not is_compiled(found):  # a wrapper must lie beside its binary
            model, source = with_names(found), scratch / "model.onnx"
            onnx.save(model, source)
        log = _log(log_folder, f"{path.stem}_{soc.part.lower()}_qnn.log")
        job = Job(source, path.name, soc, whole=False, log=log, time_limit_s=time_limit_s)
        return _ask(job, model, scratch, keep=log_folder is not None)[1]


def _log(folder: Path | None, name: str) -> Path:
    return folder / name if folder else new_log()


def _ask(job: Job, model: onnx.ModelProto, scratch: Path, keep: bool) -> tuple[Answer, Placement]:
    """The worker's answer and the placement in it; the log goes unless it is to be kept, or the worker failed."""
    source = f"{qnn_versions().describe()} for {job.soc.part}"
    answer = run_worker(job, scratch)
    text = job.log.read_text(encoding="utf-8", errors="replace")
    log = job.log if keep else None
    if not keep:
        job.log.unlink()
    return answer, placement_of(nodes_of(model), answer.subgraphs, job.soc, source, text, log)


def _refuse_partial(job: Job, answer: Answer) -> None:
    """The session promised that nothing fell back; believe what it says it did."""
    outside = [piece for piece in answer.subgraphs if piece.provider != PROVIDER]
    if outside or not answer.subgraphs:
        name = outside[0].nodes[0][0] if outside else "the graph"
        what = f"{job.label} does not compile for {job.soc.describe()}"
        raise ExportError(f"{what}: '{name}' is not on the NPU; edgesr audit says why")


def _checked(job: Job, wrapper: Path) -> Path:
    """The binary of a wrapper, after a look at both."""
    binary = wrapper.with_name(f"{wrapper.stem}{BINARY_SUFFIX}")
    what = f"{job.label} did not compile for {job.soc.describe()}"
    if not wrapper.is_file() or not binary.is_file() or not binary.stat().st_size:
        raise ExportError(f"{what}: QNN wrote no {wrapper.name} with {binary.name}; reinstall onnxruntime-qnn")
    nodes = read_onnx(wrapper).graph.node
    named = [a.s.decode() for node in nodes for a in node.attribute if a.name == "ep_cache_context"]
    if [node.op_type for node in nodes] != [COMPILED_KIND] or named != [binary.name]:
        raise ExportError(f"{what}: QNN's wrapper is not one graph in {binary.name}; reinstall onnxruntime-qnn")
    return binary
