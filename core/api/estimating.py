"""What an NPU would need for an exported file, as its vendor's compiler estimates it. Nothing runs.

Arm's compiler estimates INT8 TFLite files for one image size that leave their last shuffle to the host. An export may
hold such a file: an Ethos-U artifact's source does. Any other INT8 TFLite artifact is written anew from its graph in
that form, in memory, with the very integers that the artifact holds. The shuffle on the host is in no estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgesr.api.compiling import compiler_logs
from edgesr.api.verifying import proof_graph
from edgesr.artifact import Artifact, IOContract, Manifest, locate
from edgesr.errors import ArtifactError
from edgesr.ethos_u import EthosU, find_ethos_u
from edgesr.export.folds.host_shuffle import ending_before_shuffle
from edgesr.export.npu.ethos_u import compile_ethos_u
from edgesr.export.npu.unfolded import emit_unfolded
from edgesr.export.npu.vela_report import NpuEstimate
from edgesr.export.tflite import emit_tflite
from edgesr.ops import DepthToSpace
from edgesr.progress import Progress, silent
from edgesr.quantized import QuantizedGraph
from edgesr.target import Format, IODtype, Precision


@dataclass(frozen=True)
class FileEstimate:
    """A compiler's estimate for a file at an input size (H, W); `written_anew` where not for the file's own bytes.

    `unfolded` is the estimate for the same integers with the shuffle as RESHAPE and TRANSPOSE, in the same setting.
    """

    file: str
    size: tuple[int, int]
    written_anew: bool
    estimate: NpuEstimate
    unfolded: NpuEstimate | None = None

    @property
    def unfolded_times(self) -> float | None:
        """How many times the cycles the unfolded graph is estimated to need; None where it was not asked for."""
        return None if self.unfolded is None else self.unfolded.cycles / self.estimate.cycles

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "file": self.file,
            "size": list(self.size),
            "written_anew": self.written_anew,
            "estimate": self.estimate.as_json(),
            "unfolded_estimate": None if self.unfolded is None else self.unfolded.as_json(),
            "unfolded_estimated_times": self.unfolded_times,
        }


def estimate(
    path: Path, npu: str, size: tuple[int, int] | None = None, against_unfolded: bool = False,
    progress: Progress = silent,
) -> tuple[FileEstimate, ...]:  # fmt: skip
    """Estimate an INT8 TFLite artifact, or each of an export folder, on an Ethos-U by its name.

    `size` is the input size (H, W); None takes each artifact's first. Raises `EdgeSRError` for an unknown NPU,
    `ArtifactError` where there is no INT8 TFLite file, `MissingBackendError`, and `ExportError` where Vela fails.
    """
    accelerator = find_ethos_u(npu)
    manifest, artifacts = locate(path)
    fitting = [artifact for artifact in artifacts if _why_not(artifact) is None]
    if not fitting:
        raise ArtifactError(f"{_why_not(artifacts[0])}; export one with --target tflite-int8 or {accelerator.name}")
    estimates = []
    for done, artifact in enumerate(fitting):
        progress(f"estimating for {accelerator.name}", done, len(fitting))
        estimates.append(_estimate_one(manifest, artifact, accelerator, size, against_unfolded))
    progress(f"estimating for {accelerator.name}", len(fitting), len(fitting))
    return tuple(estimates)


def _why_not(artifact: Artifact) -> str | None:
    target = artifact.find_target()
    if target.format is Format.TFLITE and target.precision is Precision.INT8:
        return None
    return f"{artifact.file} is no INT8 TFLite file, the only kind that Ethos-U runs"


def _estimate_one(
    manifest: Manifest, artifact: Artifact, accelerator: EthosU, size: tuple[int, int] | None, against_unfolded: bool
) -> FileEstimate:
    own, contract = manifest.runnable(artifact), artifact.contract
    wanted = size or contract.sizes[0]
    _refuse_size(artifact, wanted)
    network = proof_graph(manifest, artifact)
    if network is None:
        raise ArtifactError(f"{artifact.file} came by the general route and has no graph; place it by edgesr audit")
    if not isinstance(network, QuantizedGraph):
        raise ArtifactError(f"{manifest.folder / str(artifact.graph)} holds no INT8 network; export it again")
    written_anew = not _is_estimable(contract, wanted, network)
    content = _written(network, wanted) if written_anew else own.read_bytes()
    with compiler_logs() as logs:
        made = compile_ethos_u(content, accelerator, logs, source=artifact.file).estimate
        unfolded = None
        if against_unfolded:
            slow = emit_unfolded(network, wanted)
            unfolded = compile_ethos_u(slow, accelerator, logs, source=f"unfolded {artifact.file}").estimate
    return FileEstimate(artifact.file, wanted, written_anew, made, unfolded)


def _refuse_size(artifact: Artifact, size: tuple[int, int]) -> None:
    """Raise `ArtifactError` for a size that the network itself does not take; the file's own binds nothing here."""
    multiple = artifact.contract.size_multiple
    if min(size) < 1 or any(side % multiple for side in size):
        raise ArtifactError(f"{artifact.file}: {size[0]}x{size[1]} is no multiple of {multiple}; give another --size")


def _is_estimable(contract: IOContract, size: tuple[int, int], network: QuantizedGraph) -> bool:
    """Whether the file itself has this one size, bytes as the NPU takes them, and no shuffle at its end."""
    shuffles = _ends_in_shuffle(network) and contract.host_shuffle == 1
    return contract.sizes == (size,) and contract.dtype is IODtype.INT8 and not shuffles


def _written(network: QuantizedGraph, size: tuple[int, int]) -> bytes:
    bare = ending_before_shuffle(network) if _ends_in_shuffle(network) else network
    return emit_tflite(bare, Precision.INT8, IODtype.INT8, (size,), {})


def _ends_in_shuffle(network: QuantizedGraph) -> bool:
    return isinstance(network.graph.producer(network.graph.output), DepthToSpace)
