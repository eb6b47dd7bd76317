"""LiteRT's ahead-of-time compilation for Qualcomm SoCs: a TFLite file whose operators became one binary for the NPU.

`ai_edge_litert.aot` runs its own program, `apply_plugin_main`, with the compiler plugin of its wheel and the vendor's
QNN libraries. So does this module, but with a time limit and the whole output kept. What the NPU takes becomes custom
operators `DISPATCH_OP`; what is left runs on the CPU. The plugin says which operator it refuses, by its number.

The vendor's libraries are found in the folder that EDGESR_QAIRT_SDK names (an SDK's root, or the folder of the
libraries), or in the package `ai-edge-litert-sdk-qualcomm`. They are the user's own and are never redistributed.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import importlib.util
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesr.errors import ArtifactError, EdgeSRError, ExportError, MissingBackendError
from edgesr.export.npu.child_process import ChildResult, log_name, run_child
from edgesr.export.npu.placement import Evidence, OperatorPlacement, Place, Placement
from edgesr.export.npu.tflite_listing import ListedOperator, list_operators

SDK_VARIABLE = "EDGESR_QAIRT_SDK"
SDK_PACKAGE = "ai_edge_litert_sdk_qualcomm"
LIBRARY_FOLDER = Path("lib") / "x86_64-linux-clang"
LIBRARIES = ("libQnnHtp.so", "libQnnIr.so", "libQnnLpai.so", "libQnnSaver.so", "libQnnSystem.so")
"""What the plugin of ai-edge-litert 2.3.0 is linked against."""
SOCS = ("SM8350", "SM8450", "SM8475", "SM8550", "SM8650", "SM8750", "SM8845", "SM8850")
"""The phone SoCs of `ai_edge_litert.aot.vendors.qualcomm.target` 2.3.0."""
NPU_OPERATOR = "DISPATCH_OP"
TIME_LIMIT_S = 300.0
PARTITIONED = re.compile(r"Partitioned subgraph<\d+>, selected (\d+) ops, from a total of (\d+) ops. resulted in (\d+)")
REFUSED = re.compile(
    r"QNN op validation failed: '(?P<op>[^']+)'(?:(?!LiteRT Op).)*LiteRT Op #(?P<index>\d+)", re.DOTALL
)
COMPLAINT = re.compile(r"<E>\s+(?:\[\d+\]\s+)?(?P<why>.+)")
REMEDY = "replace it by an operator that this NPU takes, or do it on the host"
SHUFFLE_REMEDY = "where it is part of a PixelShuffle, export that as DEPTH_TO_SPACE: edgesr export does"
REMEDIES = {"RESHAPE": SHUFFLE_REMEDY, "TRANSPOSE": SHUFFLE_REMEDY}


@dataclass(frozen=True)
class AotCompiled:
    """A file compiled for one SoC, and where its operators run."""

    content: bytes
    placement: Placement

    @property
    def taken(self) -> int:
        """How many operators the NPU took."""
        return self.placement.count(Place.NPU)


def find_aot_soc(name: str) -> str:
    """The SoC of that name in any case; raises `EdgeSRError` where there is none, naming those most like it."""
    if name.upper() in SOCS:
        return name.upper()
    near = difflib.get_close_matches(name.upper(), SOCS, n=3, cutoff=0.6)
    raise EdgeSRError(f"LiteRT compiles for no SoC called '{name}'; choose {' or '.join(near) or ', '.join(SOCS)}")


def find_qairt_libraries() -> Path:
    """The folder of the vendor's libraries; raises `MissingBackendError` where they are not, with the line to run."""
    named = os.environ.get(SDK_VARIABLE)
    if named:
        return _complete(
            Path(named), f"set {SDK_VARIABLE} to a folder that holds them, or unset it and run {_install()}"
        )
    spec = importlib.util.find_spec(SDK_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingBackendError(
            f"Qualcomm's SDK for LiteRT is not installed; run {_install()}, or set {SDK_VARIABLE} to a folder of QAIRT"
        )
    data = Path(next(iter(spec.submodule_search_locations))) / "data"
    cure = f"it is downloaded while the package installs: with the network open run {_install('--force-reinstall ')}"
    return _complete(data, f"{cure}, or set {SDK_VARIABLE} to a folder of QAIRT")


def compile_litert_aot(
    content: bytes, soc: str, log_folder: Path, time_limit_s: float = TIME_LIMIT_S, source: str = "the model"
) -> AotCompiled:
    """Compile a TFLite file for a Qualcomm SoC like `SM8750`; `source` is its name in errors and in the log's.

    Raises `ArtifactError` where it is no sound TFLite file, `MissingBackendError` without the SDK, `ExportError` where
    the compiler fails, hangs, or its file and its words disagree.
    """
    soc, operators, libraries = find_aot_soc(soc), list_operators(content, source), find_qairt_libraries()
    if any(op.kind == NPU_OPERATOR for op in operators):
        raise ArtifactError(f"{source} is already compiled for an NPU; give the file that it was compiled from")
    log = log_folder / log_name(source, soc.lower(), "litert-aot")
    result, compiled = _apply(content, soc, libraries, log, time_limit_s, source)
    if not compiled:
        raise ExportError(f"{_failure(result, soc)}; its output is in {log}")
    return AotCompiled(compiled, _placement(operators, compiled, soc, result))


def place_with_litert_aot(path: Path, soc: str, log_folder: Path, time_limit_s: float = TIME_LIMIT_S) -> Placement:
    """Where the operators of any .tflite file run on a Qualcomm SoC, as its compiler in LiteRT says just now."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}; give a .tflite file") from error
    return compile_litert_aot(content, soc, log_folder, time_limit_s, path.name).placement


def _install(option: str = "") -> str:
    return f"pip install {option}ai-edge-litert-sdk-qualcomm=={importlib.metadata.version('ai-edge-litert')}"


def _complete(root: Path, cure: str) -> Path:
    """The folder of the libraries at or under `root`; raises `MissingBackendError` where one is missing."""
    folder = root / LIBRARY_FOLDER if (root / LIBRARY_FOLDER).is_dir() else root
    missing = [name for name in LIBRARIES if not (folder / name).exists()]
    if missing:
        raise MissingBackendError(f"Qualcomm's SDK in {folder} lacks {', '.join(missing)}; {cure}")
    return folder


def _apply(
    content: bytes, soc: str, libraries: Path, log: Path, time_limit_s: float, source: str
) -> tuple[ChildResult, bytes]:
    """Run the compiler once: its words, and its file, empty where it wrote none."""
    package = _litert_folder()
    program = package / "tools" / "apply_plugin_main"
    plugins = package / "vendors" / "qualcomm" / "compiler"
    if not (program.exists() and plugins.is_dir()):
        raise MissingBackendError(
            "this ai-edge-litert has no compiler for Qualcomm: it comes for Linux on x86-64 alone"
        )
    with tempfile.TemporaryDirectory(prefix="edgesr-aot-") as name:
        model, result_path = Path(name) / "network.tflite", Path(name) / "compiled.tflite"
        model.write_bytes(content)
        arguments = [
            str(program), "--cmd=apply", f"--model={model}", f"--o={result_path}", "--soc_manufacturer=Qualcomm",
            f"--soc_model={soc}", f"--libs={plugins}", "--err=--",
        ]  # fmt: skip
        paths = [str(libraries), str(package), os.environ.get("LD_LIBRARY_PATH", "")]
        environment = {"LD_LIBRARY_PATH": os.pathsep.join(path for path in paths if path)}
        result = run_child(f"LiteRT's compiler on {source}", arguments, log, time_limit_s, environment)
        wrote = result.code == 0 and result_path.exists()
        return result, result_path.read_bytes() if wrote else b""


def _litert_folder() -> Path:
    spec = importlib.util.find_spec("ai_edge_litert")
    if spec is None or spec.origin is None:
        raise MissingBackendError("ai-edge-litert is not installed; run pip install edgesr")
    return Path(spec.origin).parent


def _failure(result: ChildResult, soc: str) -> str:
    """Why there is no file, in one line."""
    if "Could not load shared library" in result.output:
        words = result.output.split("Could not load shared library", 1)[1].splitlines()[0]
        return f"{result.tool} cannot load the plugin or the SDK:{words}; check {SDK_VARIABLE} and the SDK's version"
    if "Unexpected SoC model" in result.output:
        return f"{result.tool}: this version knows no {soc}; choose an older SoC or update ai-edge-litert"
    if result.code == 0:
        return f"{result.tool} ended well but wrote no file; update ai-edge-litert and the SDK together"
    return f"{result.cause}; `edgesr audit` shows which operators this NPU takes"


def _placement(operators: tuple[ListedOperator, ...], compiled: bytes, soc: str, result: ChildResult) -> Placement:
    try:
        left = list_operators(compiled, "its file")
    except ArtifactError as error:
        raise ExportError(f"{result.tool} wrote no sound file ({error}); see {result.log}") from error
    stats = [(int(taken), int(pieces)) for taken, _, pieces in PARTITIONED.findall(result.output)]
    said = sum(taken for taken, _ in stats), sum(pieces for _, pieces in stats)
    partitions = sum(op.kind == NPU_OPERATOR for op in left)
    on_cpu = {op.key for op in left if op.kind != NPU_OPERATOR}
    placed = tuple(_place(op, op.key in on_cpu, _reasons(result)) for op in operators)
    taken = sum(op.place is Place.NPU for op in placed)
    if said != (taken, partitions):
        raise ExportError(
            f"{result.tool} says it took {said[0]} operators in {said[1]} partitions, its file says {taken} in "
            f"{partitions}; see {result.log}"
        )
    tool = f"LiteRT {importlib.metadata.version('ai-edge-litert')} AOT, Qualcomm"
    return Placement(soc, Evidence.COMPILED, tool, placed, partitions, result.log)


def _place(op: ListedOperator, on_cpu: bool, reasons: Mapping[int, str]) -> OperatorPlacement:
    if not on_cpu:
        return OperatorPlacement(op.name, op.kind, Place.NPU)
    reason = reasons.get(op.index, "the compiler left it to the CPU without a reason")
    return OperatorPlacement(op.name, op.kind, Place.CPU, reason, REMEDIES.get(op.kind, REMEDY))


def _reasons(result: ChildResult) -> dict[int, str]:
    """Why operators were refused, by number: the plugin names them on stderr, QNN's complaint stands on stdout."""
    complaints: dict[str, str] = {}
    latest = ""
    for line in result.stdout.splitlines():
        failed = re.search(r"Failed to validate op (\S+)", line)
        found = COMPLAINT.search(line)
        if failed:
            complaints[failed[1]] = latest
        elif found and "validateOpConfig" not in found["why"]:
            latest = found["why"].strip().rstrip(".")
    return {
        int(found["index"]): f"Qualcomm's validator refuses it: {complaints.get(found['op']) or 'see the log'}"
        for found in REFUSED.finditer(result.stderr)
    }
