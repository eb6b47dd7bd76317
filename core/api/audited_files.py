"""Which files an audit reads for what it was given, and which NPU a file was compiled for.

A compiled file shows nothing of its operators. In an export folder it is audited by the file that it was compiled from,
which its manifest names and which is checked against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgesr.artifact import Artifact, Manifest, locate
from edgesr.errors import ArtifactError
from edgesr.export.npu.file_operator import OperatorList
from edgesr.export.npu.read_onnx import read_onnx
from edgesr.export.npu.read_tflite import FILE_IDENTIFIER, read_tflite
from edgesr.target import Format

READERS: Mapping[str, Callable[[Path], OperatorList]] = {
    f".{Format.TFLITE.value}": read_tflite,
    f".{Format.ONNX.value}": read_onnx,
}


@dataclass(frozen=True)
class AuditedFile:
    """A file to read, what it stands for, the NPU that this was compiled for, and what to say about that."""

    path: Path
    name: str
    npu: str | None = None
    notes: tuple[str, ...] = ()


def find_files(path_or_model: str | Path) -> tuple[AuditedFile, ...] | None:
    """The files meant, None for a model: a bundled one by its name, or a checkpoint; raises `ArtifactError`."""
    path = Path(path_or_model)
    if path.is_dir():
        manifest, artifacts = locate(path)
        return tuple(_artifact(manifest, artifact) for artifact in artifacts)
    if path.suffix.lower() in READERS:
        return (_file(path),)
    if not path.exists():
        if isinstance(path_or_model, Path) or path.suffix or len(path.parts) > 1:
            raise ArtifactError(f"{path} does not exist; give a .tflite or .onnx file, a checkpoint or a bundled model")
        return None
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error
    if head[4:8] == FILE_IDENTIFIER:
        raise ArtifactError(f"{path} holds a TFLite file; rename it to {path.stem}.tflite")
    return None


def _file(path: Path) -> AuditedFile:
    """A file by itself, unless it is a compiled one that a manifest beside it knows."""
    with suppress(ArtifactError):  # no manifest, or one about other files
        manifest, (artifact,) = locate(path)
        if artifact.source is not None:
            return _artifact(manifest, artifact)
    return AuditedFile(path, str(path))


def _artifact(manifest: Manifest, artifact: Artifact) -> AuditedFile:
    path, name = manifest.runnable(artifact), str(manifest.folder / artifact.file)
    if artifact.source is None:
        return AuditedFile(path, name)
    compiled = artifact.facts.get("compiled")
    npu = compiled.get("npu") if isinstance(compiled, Mapping) else None
    note = f"compiled for {npu or 'an NPU'} from {artifact.source}, which is audited in its place"
    return AuditedFile(path, name, npu if isinstance(npu, str) else None, (note,))
