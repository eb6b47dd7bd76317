"""Other converters in the same run: the same network, calibration images and measured images, one table."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesr.api.peer_output import without_noise
from edgesr.api.verifying import as_image_function, proof_file
from edgesr.architecture import SRModel
from edgesr.artifact import Artifact, locate
from edgesr.errors import ArtifactError, CalibrationError, EdgeSRError, ImageError, MissingBackendError, first_line
from edgesr.export.peers.peer import Peer, PeerFile, install_line, tool_of
from edgesr.images import load_rgb, pair_folders
from edgesr.model.reference import load_reference
from edgesr.progress import Progress, silent
from edgesr.quant.images import CalibrationImages, load_calibration_images
from edgesr.runtime.quality import QualityReport, measure_quality
from edgesr.runtime.runners import FILE_RUNNERS, FileRunner

THREADS = 2
BUILTIN = "builtin"
"""How a manifest names the builtin calibration set."""


@dataclass(frozen=True)
class PeerResult:
    """What one peer's INT8 files measure, or why there are none.

    `why_not` is None where `quality` is there; `installed` tells a peer that is not there from one that failed.
    """

    peer: str
    tool: str
    settings: str
    runner: str
    reference: QualityReport
    quality: QualityReport | None = None
    why_not: str | None = None
    installed: bool = True

    @property
    def drop_db(self) -> float | None:
        """RGB PSNR lost against the float network, None where nothing was measured."""
        if self.quality is None:
            return None
        lost = self.reference.psnr_db - self.quality.psnr_db
        return 0.0 if math.isnan(lost) else lost

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "peer": self.peer,
            "tool": self.tool,
            "settings": self.settings,
            "runner": self.runner,
            "installed": self.installed,
            "why_not": self.why_not,
            "drop_db": self.drop_db,
            "quality": None if self.quality is None else self.quality.to_json(),
        }


@dataclass(frozen=True)
class Contest:
    """Peers, and what all of them are given."""

    peers: tuple[Peer, ...]
    model: SRModel
    images: CalibrationImages

    def measure(self, lr: Path, hr: Path, reference: QualityReport, progress: Progress = silent) -> list[PeerResult]:
        """Quantize with each peer and measure it on the pairs; what a peer raises is its result."""
        pairs = pair_folders(lr, hr)
        sizes = sorted({load_rgb(path).shape[:2] for path, _ in pairs})
        return [self._measure_one(peer, pairs, sizes, reference, progress) for peer in self.peers]

    def _measure_one(
        self,
        peer: Peer,
        pairs: Sequence[tuple[Path, Path]],
        sizes: Sequence[tuple[int, int]],
        reference: QualityReport,
        progress: Progress,
    ) -> PeerResult:
        try:
            tool = tool_of(peer)
        except MissingBackendError:
            missing = f"not installed: {install_line(peer)}"
            return PeerResult(
                peer.name, peer.name, peer.settings, peer.runner, reference, why_not=missing, installed=False
            )
        quality: QualityReport | None = None
        why_not: str | None = None
        try:
            with tempfile.TemporaryDirectory(prefix="edgesr-peer-") as folder, without_noise(progress) as shown:
                shown(f"quantizing with {peer.name}", 0, 1)
                files = peer.quantize(self.model, self.images.pieces, sizes, Path(folder), shown)
                run = as_image_function(_SizedRunner(peer, files), files[0].contract)
                quality = measure_quality(run, pairs, self.model.scale, shown)
        except Exception as error:  # another tool's failure is what there is to say of it, whatever it raises
            why_not = f"{type(error).__name__}: {first_line(error)}"
        return PeerResult(peer.name, tool, peer.settings, peer.runner, reference, quality, why_not)


class _SizedRunner:
    """A peer's files as one runner: each image runs on the file that takes its size."""

    def __init__(self, peer: Peer, files: Sequence[PeerFile]) -> None:
        self.name = peer.runner
        self._files = files
        self._opened: dict[Path, FileRunner] = {}

    def run(self, image: np.ndarray) -> np.ndarray:
        """The output of the file for that size; raises `ArtifactError` where there is none."""
        height, width = image.shape[1:3]
        for file in self._files:
            if file.contract.accepts(height, width) is None:
                if file.path not in self._opened:
                    self._opened[file.path] = FILE_RUNNERS[self.name](file.path, file.contract, THREADS)
                return self._opened[file.path].run(image)
        raise ArtifactError(f"no file takes {height}x{width}; choose images of another size")


def prepare_contest(
    path: Path, peers: Sequence[Peer], calibration: Path | None = None, progress: Progress = silent
) -> Contest:
    """What an artifact or export folder gives its peers: the float network and the images that calibrated it.

    `calibration` is a folder of images to calibrate the peers with instead. Raises `MissingBackendError` where no peer
    is installed, `ArtifactError` for files of several networks, `CalibrationError` where the images are gone or others.
    """
    _require_one(peers)
    manifest, artifacts = locate(path)
    references = dict.fromkeys(artifact.reference for artifact in artifacts)
    if len(references) > 1:
        raise ArtifactError(f"{path} holds files of {len(references)} networks; compare one of its files with peers")
    model = load_reference(proof_file(manifest, artifacts[0], artifacts[0].reference))
    if calibration is not None:
        return Contest(tuple(peers), model, load_calibration_images(calibration, model.size_multiple, progress))
    return Contest(tuple(peers), model, _recorded_images(path, artifacts, model, progress))


def _require_one(peers: Sequence[Peer]) -> None:
    missing = []
    for peer in peers:
        try:
            tool_of(peer)
        except MissingBackendError:
            missing.append(peer)
    if missing and len(missing) == len(peers):
        names = ", ".join(peer.name for peer in missing)
        lines = ", or ".join(dict.fromkeys(install_line(peer) for peer in missing))
        raise MissingBackendError(f"none of the peers is installed ({names}); run {lines}")


def _recorded_images(
    path: Path, artifacts: Sequence[Artifact], model: SRModel, progress: Progress
) -> CalibrationImages:
    """The images that the manifest says calibrated these files."""
    recorded = {_calibration_of(artifact) for artifact in artifacts} - {None}
    if len(recorded) != 1:
        found = f"{len(recorded)} sets of images" if recorded else "no images: none of its files is quantized"
        raise CalibrationError(f"{path} was calibrated on {found}; give those for the peers with --calib DIR")
    ((source, count),) = (entry for entry in recorded if entry is not None)
    folder = None if source == BUILTIN else Path(source)
    try:
        images = load_calibration_images(folder, model.size_multiple, progress)
    except (ImageError, CalibrationError) as error:
        raise CalibrationError(
            f"{path} was calibrated on images that cannot be read now ({str(error).rpartition(';')[0] or error}); "
            "give the same ones with --calib DIR"
        ) from error
    if len(images.names) != count:
        raise CalibrationError(
            f"{source} holds {len(images.names)} usable images now, {path} was calibrated on {count}; "
            "give the same ones with --calib DIR"
        )
    return images


def _calibration_of(artifact: Artifact) -> tuple[str, int] | None:
    """The source and number of the images that calibrated a file, None for a float file."""
    facts = artifact.facts.get("quantization")
    if facts is None:
        return None
    if not isinstance(facts, dict) or not isinstance(facts.get("calibration_source"), str):
        raise EdgeSRError(f"the manifest does not say what calibrated {artifact.file}; export it again")
    return facts["calibration_source"], int(facts["calibration_images"])
