"""The deployment kit of an artifact or an export folder: loaders in C++ and Kotlin with the files' exact contracts."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from edgesr.api.verifying import proof_graph
from edgesr.artifact import Artifact, Manifest, locate
from edgesr.atomic import write_atomically
from edgesr.errors import ArtifactError
from edgesr.export.kit.kit_files import kit_files
from edgesr.export.kit.kit_model import KitModel
from edgesr.runtime.receptive_field import Reach, find_reach
from edgesr.runtime.tile_choice import bytes_per_pixel, largest_side
from edgesr.target import Format

FOLDER = "kit"
"""Where a kit goes, beside its files."""
C_API = "litert_c_api.h"
ACTIVATION_BYTES = 256 << 20
"""What a tile may take on a phone, where an app that takes too much is ended."""


@dataclass(frozen=True)
class DeploymentKit:
    """What was written: the kit's folder, its files, the models that it loads, and why others are left out."""

    folder: Path
    files: tuple[str, ...]
    models: tuple[KitModel, ...]
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "folder": str(self.folder),
            "files": list(self.files),
            "models": [_model_json(model) for model in self.models],
            "left_out": list(self.left_out),
        }


def write_kit(path: Path, out: Path | None = None) -> DeploymentKit:
    """Write the kit of an artifact, or of every TFLite file of an export folder, into `out` (None: `kit` beside them).

    Files of the kit that are there are replaced. Raises `ArtifactError` for files that are missing, foreign or changed,
    or where no loader takes any of them, and `ExportError` where the kit cannot be written.
    """
    manifest, artifacts = locate(path)
    refusals = {artifact.file: why for artifact in artifacts if (why := refusal(artifact))}
    usable = [artifact for artifact in artifacts if artifact.file not in refusals]
    left_out = tuple(f"{file}: {why}" for file, why in refusals.items())
    if not usable:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise ArtifactError(f"no deployment kit for {left_out[0]}{more}; export the network with --target tflite-int8")
    models = tuple(kit_model(manifest, artifact) for artifact in usable)
    folder = out or manifest.folder / FOLDER
    content = {**kit_files(models), f"cpp/{C_API}": _c_api()}
    for name, text in sorted(content.items()):
        with write_atomically(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return DeploymentKit(folder, tuple(sorted(content)), models, left_out)


def refusal(artifact: Artifact) -> str | None:
    """Why no loader takes an artifact, None where one does."""
    target = artifact.find_target()
    if target.compiler is not None:
        return f"{target.name} files are compiled for one NPU and load through its vendor's runtime alone"
    if target.format is not Format.TFLITE:
        return f"the loaders run LiteRT, which takes no .{target.format.value} file"
    return None


def kit_model(manifest: Manifest, artifact: Artifact) -> KitModel:
    """What a loader must know of an artifact, whose bytes are checked; raises `ArtifactError`."""
    manifest.check(artifact)
    network, contract = proof_graph(manifest, artifact), artifact.contract
    reach, tile, why = find_reach(network), None, None
    if isinstance(reach, Reach):
        sides = (reach.above, reach.below, reach.left, reach.right)
        if network is not None and contract.any_size:
            held = bytes_per_pixel(network, artifact.find_target().precision)
            side = largest_side(reach, contract.size_multiple, held, ACTIVATION_BYTES)
            tile = (side, side)
    else:
        sides, why = None, reach.why
    return KitModel(artifact.file, artifact.sha256, artifact.size_bytes, contract, sides, tile, why)


def _c_api() -> str:
    """LiteRT's C API as far as the loader calls it: the declarations that the device runner uses, too."""
    return files("edgesr.android_bench.runner").joinpath(C_API).read_text(encoding="utf-8")


def _model_json(model: KitModel) -> dict[str, object]:
    return {
        "file": model.file,
        "sha256": model.sha256,
        "size_bytes": model.size_bytes,
        "constant": model.identifier,
        "contract": model.contract.to_json(),
        "reach": None if model.reach is None else list(model.reach),
        "tile": None if model.tile is None else list(model.tile),
        "why_whole": model.why_whole,
    }
