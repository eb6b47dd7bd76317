"""`edgesr run`: pictures and videos through an exported file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.api.overlap import usable_cores
from edgesr.api.picture_running import PictureRun
from edgesr.api.run_ledger import Ledger, digest_of
from edgesr.api.run_plan import STREAM, PictureTask, plan_file, plan_folder
from edgesr.api.run_record import Outcome, RunItem, RunRecord
from edgesr.api.verifying import proof_graph
from edgesr.api.video_running import VideoRun, plan_video
from edgesr.artifact import Artifact, locate
from edgesr.errors import ArtifactError, ExportError, ImageError
from edgesr.pictures.formats import PictureFormat
from edgesr.pictures.writing import DEFAULT_QUALITY
from edgesr.progress import Progress, silent
from edgesr.runtime.runners import FileRunner, open_runner
from edgesr.runtime.tiled_runner import TiledRunner, tile_runner
from edgesr.runtime.tiling import Size
from edgesr.videos.containers import CONTAINERS, VIDEO_SUFFIXES
from edgesr.videos.ffmpeg import find_program

IMAGES, FRAMES = "images", "frames"
OUTPUT_SUFFIXES = tuple(container.suffix for container in CONTAINERS)


def ignore(item: RunItem) -> None:
    """Hear of a failure and say nothing: it is in the record."""


@dataclass(frozen=True)
class RunOptions:
    """How a file is run and its output written.

    `runner` None is the target's first; `tile` is the input size (H, W) of a tile, None the default and (0, 0) none;
    `threads` None is one for every core. `kind` is the format of pictures (None: what their names say) and `quality`
    that of JPEG and WebP. In folders what is done is skipped, unless `overwrite`. `crf` is x264's and VP9's quality.
    """

    runner: str | None = None
    tile: Size | None = None
    threads: int | None = None
    kind: PictureFormat | None = None
    quality: int = DEFAULT_QUALITY
    overwrite: bool = False
    crf: int = 16

    @property
    def used_threads(self) -> int:
        """How many threads the runtime gets."""
        return self.threads or usable_cores()


@dataclass(frozen=True, eq=False)
class OpenedArtifact:
    """A file that is ready to run images of any size that it or its tiles can."""

    artifact: Artifact
    runner: FileRunner
    tiled: TiledRunner
    threads: int

    def record(self, unit: str, items: Sequence[RunItem], elapsed_s: float, notes: tuple[str, ...] = ()) -> RunRecord:
        """The record of a run on it."""
        return RunRecord(
            self.artifact.file, self.artifact.sha256, self.runner.name, self.threads, unit, tuple(items), elapsed_s,
            self.runner.emulated, notes,
        )  # fmt: skip


def open_artifact(path: Path, options: RunOptions | None = None) -> OpenedArtifact:
    """A file by tiles; of a compiled one, on the host's runtimes, what it was compiled from.

    Raises `ArtifactError` for a file that is missing, foreign or changed, or a folder of several, and `EdgeSRError` for
    a runner that does not run it.
    """
    options = options or RunOptions()
    manifest, artifacts = locate(path)
    if len(artifacts) != 1:
        named = ", ".join(artifact.file for artifact in artifacts)
        raise ArtifactError(f"{path} holds {len(artifacts)} artifacts; give one of its files: {named}")
    (artifact,) = artifacts
    target = artifact.find_target()
    name = options.runner or target.runners[0]
    file = manifest.runnable(artifact) if name in target.runners else manifest.check(artifact)
    runner = open_runner(name, target, file, artifact.contract, options.used_threads)
    network = proof_graph(manifest, artifact)
    tiled = tile_runner(runner, artifact.contract, network, target.precision, options.tile)
    return OpenedArtifact(artifact, runner, tiled, options.used_threads)


def run(
    path: Path,
    source: Path,
    output: Path,
    options: RunOptions | None = None,
    progress: Progress = silent,
    report: Callable[[RunItem], None] = ignore,
) -> RunRecord:
    """Run a picture, a folder of pictures or a video through the artifact `path`, and write the results.

    `source` and `output` may be `-`, standard input and output, for one picture. Of a folder, pictures that cannot be
    read or run are told to `report` and are in the record, and the others are done; the record says what was skipped.
    Raises `ArtifactError`, `ImageError` for a single picture that cannot be used, `ExportError` for what cannot be
    written, and `MissingBackendError` for a video without ffmpeg.
    """
    options = options or RunOptions()
    if source != STREAM and not source.exists():
        raise ImageError(f"{source} does not exist; give a picture, a folder of pictures or a video")
    if source != STREAM and source.is_dir():
        return _run_folder(path, source, output, options, progress, report)
    if source.suffix.lower() in VIDEO_SUFFIXES or output.suffix.lower() in OUTPUT_SUFFIXES:
        return _run_video(path, source, output, options, progress)
    task = plan_file(source, output, options.kind)
    opened = open_artifact(path, options)
    started = time.perf_counter()
    pictures = PictureRun(opened.tiled, opened.artifact.contract, options.quality)
    (item,) = pictures.run([task], progress)
    if item.why is not None:
        raise ImageError(item.why)
    return opened.record(IMAGES, [item], time.perf_counter() - started)


def _run_folder(
    path: Path, source: Path, output: Path, options: RunOptions, progress: Progress, report: Callable[[RunItem], None]
) -> RunRecord:
    plan = plan_folder(source, output, options.kind)
    opened = open_artifact(path, options)
    maker = digest_of(opened.artifact.sha256, opened.runner.name, options.quality)
    ledger = Ledger.open(output, maker)
    done = [] if options.overwrite else [task for task in plan.tasks if ledger.is_done(task)]
    items = {task: RunItem(task.source, task.output, Outcome.SKIPPED) for task in done}
    left = [task for task in plan.tasks if task not in items]
    if not options.overwrite:
        _refuse_foreign(left, ledger)
    started = time.perf_counter()
    pictures = PictureRun(opened.tiled, opened.artifact.contract, options.quality, ledger, report)
    items |= dict(zip(left, pictures.run(left, progress), strict=True))
    notes = (f"{plan.links} links to folders were not followed",) if plan.links else ()
    elapsed_s = time.perf_counter() - started
    return opened.record(IMAGES, [items[task] for task in plan.tasks], elapsed_s, notes)


def _run_video(path: Path, source: Path, output: Path, options: RunOptions, progress: Progress) -> RunRecord:
    output, container = plan_video(source, output)
    find_program("ffmpeg")
    opened = open_artifact(path, options)
    started = time.perf_counter()
    item = VideoRun(opened.tiled, opened.artifact.contract, options.crf).run(source, output, container, progress)
    return opened.record(FRAMES, [item], time.perf_counter() - started)


def _refuse_foreign(tasks: Sequence[PictureTask], ledger: Ledger) -> None:
    """Raise `ExportError` where a picture would replace a file that no run of edgesr wrote."""
    foreign = [task.output for task in tasks if task.output.exists() and not ledger.is_own(task)]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise ExportError(
            f"{foreign[0]}{more} exist and were not written by edgesr run; choose another folder, or give --overwrite"
        )
