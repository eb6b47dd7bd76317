"""Parity and quality of files that an export left behind."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from edgesr.api.context_parity import compare_context
from edgesr.api.converted_parity import CONVERTER, compare_converted
from edgesr.api.cuda_parity import compare_on_cuda
from edgesr.api.locating import ProvenFile, locate_errors
from edgesr.api.proving import check_file
from edgesr.api.small_copy import any_size_source, marked, provable
from edgesr.api.whole_proving import check_whole_file
from edgesr.architecture import SRModel
from edgesr.artifact import Artifact, IOContract, Manifest, locate
from edgesr.compared_picture import ComparedPicture
from edgesr.errors import ArtifactError, EdgeSRError, ImageError
from edgesr.graph import Graph
from edgesr.graph_file import load_graph
from edgesr.images import list_images, load_rgb, pair_folders
from edgesr.model.reference import load_reference
from edgesr.progress import Progress, silent
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.quantized import QuantizedGraph, float_graph
from edgesr.runtime.cuda_runner import NETWORK_RUNNERS
from edgesr.runtime.metrics import modcrop, to_uint8
from edgesr.runtime.parity import ParityReport
from edgesr.runtime.qnn_runner import QnnRunner
from edgesr.runtime.quality import ImageFunction, ImageQuality, QualityReport, measure_quality
from edgesr.runtime.remembered import RememberedImages
from edgesr.runtime.runner import Runner
from edgesr.runtime.runners import FILE_RUNNERS, open_runner
from edgesr.runtime.torch_runner import RememberingRunner, TorchRunner
from edgesr.target import Compiler

PARITY_IMAGES = 4


def verify_parity(
    path: Path, runners: Sequence[str] = (), images: Path | None = None, progress: Progress = silent
) -> ParityReport:
    """Compare an artifact, or every artifact of an export folder, with the float64 PyTorch network it came from.

    `runners` names the runtimes (none: all that run each target), `images` a folder of natural images (None: the
    builtin ones). Those of `NETWORK_RUNNERS`, and `CONVERTER`, run the network that the files came from. Raises
    `ArtifactError` for missing, foreign or changed files.
    """
    manifest, artifacts = locate(path)
    on_cuda = [name for name in NETWORK_RUNNERS if name in runners]
    for name in runners:
        if name not in (*on_cuda, CONVERTER):
            _require_use(name, artifacts, path)
    natural = _natural_images(images)
    report, files = ParityReport((), ()), []
    references: dict[str, tuple[SRModel, Runner]] = {}
    for artifact in artifacts:
        if artifact.reference not in references:
            model = load_reference(proof_file(manifest, artifact, artifact.reference))
            references[artifact.reference] = model, RememberingRunner(TorchRunner(model))
            proven = *references[artifact.reference], artifact.contract
            report = report.joined(compare_on_cuda(*proven, on_cuda, natural, progress))
            if CONVERTER in runners:
                report = report.joined(compare_converted(*proven, natural, progress))
        file, target = manifest.runnable(artifact), artifact.find_target()
        chosen = tuple(name for name in target.runners if not runners or name in runners)
        chosen += tuple(name for name in target.emulators + target.witnesses if name in runners)
        if chosen:
            network = proof_graph(manifest, artifact)
            if network is None:
                given = artifact.file, target, artifact.contract, *references[artifact.reference], natural, chosen
                report = report.joined(check_whole_file(file, *given, thorough=True, progress=progress))
                continue
            files.append(ProvenFile(artifact, file, network, chosen))
            report = report.joined(_verify_one(files[-1], references[artifact.reference], natural, progress))
            if target.compiler is Compiler.QNN and QnnRunner.name in chosen:
                wrapper = manifest.folder / artifact.file
                report = report.joined(compare_context(artifact, wrapper, file, natural, progress))
    hashes = {artifact.file: artifact.sha256 for artifact in artifacts}
    return dataclasses.replace(report.joined(locate_errors(files, natural, progress)), hashes=hashes)


def _require_use(runner: str, artifacts: Sequence[Artifact], path: Path) -> None:
    """Raise `EdgeSRError` for a runner that would check nothing: what was not run must not look proven."""
    if runner in (*NETWORK_RUNNERS, CONVERTER):
        raise EdgeSRError(f"runner '{runner}' runs networks, no files; name it with edgesr verify parity")
    if runner not in FILE_RUNNERS:
        known = ", ".join((*FILE_RUNNERS, *NETWORK_RUNNERS, CONVERTER))
        raise EdgeSRError(f"no runner is called '{runner}'; choose from {known}")
    targets = [artifact.find_target() for artifact in artifacts]
    usable = dict.fromkeys(name for target in targets for name in target.all_runners)
    if runner not in usable:
        raise EdgeSRError(f"runner '{runner}' runs no file of {path}; choose from {', '.join(usable)}")


def proof_graph(manifest: Manifest, artifact: Artifact) -> Graph | QuantizedGraph | None:
    """The graph that a file was emitted from, None where a general converter wrote it; raises as `proof_file`."""
    return None if artifact.graph is None else load_graph(proof_file(manifest, artifact, artifact.graph))


def proof_file(manifest: Manifest, artifact: Artifact, name: str) -> Path:
    """A file that an artifact's proof stands on; raises `ArtifactError` where it is gone."""
    path = manifest.folder / name
    if not path.is_file():
        raise ArtifactError(f"{path} is missing, {artifact.file} is proven by it; export it again")
    return path


def _verify_one(
    file: ProvenFile, proven_by: tuple[SRModel, Runner], images: Sequence[np.ndarray], progress: Progress
) -> ParityReport:
    artifact, target = file.artifact, file.artifact.find_target()
    with provable(file.path, target, artifact.contract) as (provable_path, contract, on_copy):
        report = check_file(
            provable_path, artifact.file, target, contract, *proven_by, file.network, images, file.runners,
            thorough=True, progress=progress,
        )  # fmt: skip
    return marked(report) if on_copy else report


def _natural_images(folder: Path | None) -> list[np.ndarray]:
    paths = builtin_calibration_paths() if folder is None else list_images(folder)
    return [load_rgb(path) for path in paths[:PARITY_IMAGES]]


@dataclass(frozen=True)
class QualityComparison:
    """Image quality of a file beside that of the float network it came from, on the same images.

    `emulated` says what was emulated; None where the runner is a real one. `sha256` is the file's. `pictures` are there
    where they were asked for, and no part of the JSON.
    """

    file: str
    runner: str
    quality: QualityReport
    reference: QualityReport
    emulated: str | None = None
    sha256: str | None = None
    pictures: tuple[ComparedPicture, ...] = field(default=(), repr=False, compare=False)

    @property
    def drop_db(self) -> float:
        """RGB PSNR lost against the float network; none where both are infinite."""
        lost = self.reference.psnr_db - self.quality.psnr_db
        return 0.0 if math.isnan(lost) else lost

    @property
    def border_drop_db(self) -> float | None:
        """RGB PSNR that the border ring alone lost, which `drop_db` leaves out; None where it was not measured."""
        reference, found = self.reference.border_psnr_db, self.quality.border_psnr_db
        if reference is None or found is None:
            return None
        return 0.0 if math.isnan(reference - found) else reference - found

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "runner": self.runner,
            "emulated": self.emulated,
            "drop_db": self.drop_db,
            "border_drop_db": self.border_drop_db,
            "quality": self.quality.to_json(),
            "reference": self.reference.to_json(),
        }


def verify_quality(
    path: Path, lr: Path, hr: Path, runner: str | None = None, progress: Progress = silent, pictures: bool = False
) -> list[QualityComparison]:
    """Measure an artifact, or every artifact of an export folder, on LR/HR image pairs by the NTIRE protocol.

    A compiled file's source stands for it, at any size, unless `runner` is its emulator, which takes its one size.
    The float network is measured on the same pairs, once, and each file's pictures are compared with its own. With
    `pictures`, integer files also keep those of the image that lost most and of the one in the middle. Raises
    `ImageError` where no pairs are found, and `ArtifactError`.
    """
    manifest, artifacts = locate(path)
    if runner is not None:
        _require_use(runner, artifacts, path)
    return quality_of(manifest, artifacts, lr, hr, runner, progress, pictures)


def quality_of(
    manifest: Manifest,
    artifacts: Sequence[Artifact],
    lr: Path,
    hr: Path,
    runner: str | None = None,
    progress: Progress = silent,
    pictures: bool = False,
) -> list[QualityComparison]:
    """`verify_quality` for some of a manifest's artifacts, those that `runner` runs."""
    pairs = pair_folders(lr, hr)
    networks: dict[str, tuple[QualityReport, ImageFunction]] = {}
    results: list[QualityComparison] = []
    with tempfile.TemporaryDirectory(prefix="edgesr-") as folder:
        for artifact in artifacts:
            target, contract = artifact.find_target(), artifact.contract
            name = runner or target.runners[0]
            if name not in target.all_runners:
                continue
            file = manifest.check(artifact)
            graph = proof_graph(manifest, artifact) if artifact.source is not None else None
            if graph is not None and name in target.runners:
                source = manifest.runnable(artifact)
                file, contract = any_size_source(source, target, contract, float_graph(graph), Path(folder))
            opened = open_runner(name, target, file, contract, threads=2)
            if artifact.reference not in networks:
                model = load_reference(proof_file(manifest, artifact, artifact.reference))
                place = Path(folder) / str(len(networks))
                networks[artifact.reference] = _measure_network(model, contract, pairs, place, progress)
            reference, network = networks[artifact.reference]
            run = as_image_function(opened, contract)
            quality = measure_quality(run, pairs, contract.upscale, progress, network)
            of_file = artifact.file, opened.name, quality, reference, opened.emulated, artifact.sha256
            comparison = QualityComparison(*of_file)
            if pictures and target.precision.is_integer:
                kept = tuple(telling_pictures(comparison, run, network, pairs))
                comparison = dataclasses.replace(comparison, pictures=kept)
            results.append(comparison)
    return results


def telling_pictures(
    comparison: QualityComparison, run: ImageFunction, network: ImageFunction, pairs: Sequence[tuple[Path, Path]]
) -> Iterator[ComparedPicture]:
    """What a file makes of the image that lost most PSNR, and of the one that lost a middling part, run once more."""
    scored = zip(comparison.reference.images, comparison.quality.images, pairs, strict=True)
    ordered = sorted(((_lost_db(own, found), index) for index, (own, found, _) in enumerate(scored)), reverse=True)
    for _, index in dict.fromkeys((ordered[0], ordered[len(ordered) // 2])):
        lr = load_rgb(pairs[index][0])
        hr = modcrop(load_rgb(pairs[index][1]), lr.shape[:2], comparison.quality.scale)
        name = pairs[index][0].name
        yield ComparedPicture(comparison.file, comparison.runner, name, lr, network(lr), run(lr), hr)


def _lost_db(own: ImageQuality, found: ImageQuality) -> float:
    lost = own.psnr_db - found.psnr_db
    return 0.0 if math.isnan(lost) else lost


def _measure_network(
    model: SRModel, contract: IOContract, pairs: Sequence[tuple[Path, Path]], folder: Path, progress: Progress
) -> tuple[QualityReport, ImageFunction]:
    """The float network's quality, and the network itself, its pictures remembered in `folder`."""
    folder.mkdir()
    network = RememberedImages(as_image_function(TorchRunner(model, torch.float32), contract), folder)
    return measure_quality(network, pairs, contract.upscale, progress), network


def as_image_function(runner: Runner, contract: IOContract) -> Callable[[np.ndarray], np.ndarray]:
    """The runner on uint8 images: (H, W, 3) to (sH, sW, 3)."""

    def run(image: np.ndarray) -> np.ndarray:
        if image.ndim != 3 or image.shape[2] != contract.channels:
            taken = f"the network takes {contract.channels} channels; only RGB is supported"
            raise ImageError(f"an image of shape {image.shape}, {taken}")
        batch = image[None].astype(np.float32) * np.float32(contract.value_range / 255)
        result = runner.run(batch)[0]
        if np.isnan(result).any():
            raise ArtifactError(f"{runner.name} gives values that are no numbers; check it with edgesr verify parity")
        return to_uint8(result, contract.value_range)

    return run
