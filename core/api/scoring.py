"""The NTIRE efficient super-resolution challenge's protocol for any networks: quality, cost and score in one run.

Every network runs in PyTorch eager in float32, as the challenge does it, but on this machine's processor. Nothing is
exported or folded: the figures are those of the network as its authors wrote it, with training branches merged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgesr.api.benchmarking import BYTES_PER_VALUE, available_bytes
from edgesr.api.loading import GivenNetwork, label_of, load_network, prints_apart
from edgesr.api.proving import with_channels
from edgesr.architecture import SRModel
from edgesr.errors import CheckpointError, EdgeSRError, ImageError
from edgesr.images import load_rgb, pair_folders
from edgesr.progress import Progress, silent
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.runtime.bench import Benchmark, Subject, environment, run_interleaved
from edgesr.runtime.bench_record import now
from edgesr.runtime.cases import cut
from edgesr.runtime.complexity import CHALLENGE_SIZE, Complexity, count_complexity
from edgesr.runtime.idleness import LoadWatch
from edgesr.runtime.metrics import to_uint8
from edgesr.runtime.quality import ImageFunction, QualityReport, measure_quality
from edgesr.runtime.score_report import ScoredModel, ScoreReport
from edgesr.runtime.torch_runner import TorchRunner
from edgesr.threads import torch_threads
from edgesr.user_code import OwnNetwork

DEFAULT_BASELINE = "span"
"""The architecture that the challenge of 2026 took as its baseline."""
DEFAULT_RUNS, DEFAULT_WARMUPS = 50, 5
RGB = 3


@dataclass(frozen=True)
class TimedRuns:
    """How runtime is measured: `runs` 0 is not at all."""

    size: tuple[int, int] = CHALLENGE_SIZE
    runs: int = DEFAULT_RUNS
    warmups: int = DEFAULT_WARMUPS
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if min(self.size) < 1 or self.runs < 0 or self.warmups < 0 or self.threads < 1:
            raise ValueError(f"no such runs can be made: {self}")


def score(
    models: Sequence[GivenNetwork],
    lr: Path | None = None,
    hr: Path | None = None,
    baseline: str | None = None,
    timed: TimedRuns | None = None,
    progress: Progress = silent,
) -> ScoreReport:
    """Score bundled models by name, checkpoints by path and classes of the user's own, on pairs of images where given.

    `baseline` is one of `models`, as given or by its label; None takes the only SPAN among them, and where there is
    none the report has no scores and says so. `timed` None takes the defaults. An `OwnNetwork` executes its file.
    Images off a network's size multiple are padded (`edgesr.padding`), for PSNR and for the timed runs. Raises
    `CheckpointError` and `NetworkError` for a model that is unknown or unusable, `ImageError` for folders that do not
    pair, and `EdgeSRError` for a baseline that is none of the models, networks of several scales, and a size that
    memory does not hold.
    """
    with prints_apart(models):
        return _score(models, lr, hr, baseline, TimedRuns() if timed is None else timed, progress)


def _score(
    models: Sequence[GivenNetwork], lr: Path | None, hr: Path | None, baseline: str | None, timed: TimedRuns,
    progress: Progress,
) -> ScoreReport:  # fmt: skip
    pairs = _pairs(lr, hr)
    networks = _load_all(models, progress)
    chosen, notes = _choose_baseline(networks, models, baseline, timed)
    with torch_threads(timed.threads):
        counts = _count_all(networks, chosen, progress)
        _require_memory(counts, timed)
        qualities = [_measure(model, pairs, progress) if pairs else None for model in networks.values()]
        started, watch = now(), LoadWatch()
        timings = _time_all(networks, timed, progress)
        others = watch.read() if timed.runs else None
    if not pairs:
        notes.append("no --lr and --hr were given: PSNR was not measured")
    scored = [
        ScoredModel(label, model.name, model.sha256, model.scale, count, quality, timing)
        for (label, model), count, quality, timing in zip(networks.items(), counts, qualities, timings, strict=True)
    ]
    return ScoreReport(
        tuple(scored), chosen, timed.size, timed.threads, started, dict(environment()), tuple(notes),
        () if others is None else others.warnings,
    )  # fmt: skip


def _pairs(lr: Path | None, hr: Path | None) -> list[tuple[Path, Path]]:
    if lr is None and hr is None:
        return []
    if lr is None or hr is None:
        raise ImageError(f"{lr or hr} alone pairs with nothing; give both folders, --lr and --hr")
    return pair_folders(lr, hr)


def _load_all(models: Sequence[GivenNetwork], progress: Progress) -> dict[str, SRModel]:
    """The networks by label: a bundled model's or class's name or a file's stem; of several alike, what was given."""
    if not models:
        raise EdgeSRError("nothing to score; name a bundled model or a checkpoint")
    given = [str(model) for model in models]
    for text, count in Counter(given).items():
        if count > 1:
            raise EdgeSRError(f"{text} is given {count} times; name each model once")
    stems = [label_of(model) for model in models]
    networks: dict[str, SRModel] = {}
    for done, (model, text, stem) in enumerate(zip(models, given, stems, strict=True)):
        progress("loading", done, len(given))
        networks[stem if stems.count(stem) == 1 else text] = load_network(model)
    scales = sorted({model.scale for model in networks.values()})
    if len(scales) > 1:
        found = ", ".join(f"{label} x{model.scale}" for label, model in networks.items())
        raise EdgeSRError(f"networks of several scales cannot be compared ({found}); score those of one scale")
    return networks


def _choose_baseline(
    networks: dict[str, SRModel], models: Sequence[GivenNetwork], baseline: str | None, timed: TimedRuns
) -> tuple[str | None, list[str]]:
    """The baseline's label, and what is to be said where there is no score."""
    if not timed.runs:
        if baseline is not None:
            raise EdgeSRError("a baseline has no use without runtimes; leave it out, or time at least one run")
        return None, ["no run was timed: there is no score"]
    if baseline is None:
        found = [label for label, model in networks.items() if model.architecture == DEFAULT_BASELINE]
        if len(found) == 1:
            return found[0], []
        why = "several SPAN networks are" if found else "no SPAN network is"
        return None, [f"{why} among the models: name a baseline with --baseline to get a score"]
    names = {baseline, str(Path(baseline))}
    named = [
        label
        for (label, model), given in zip(networks.items(), models, strict=True)
        if names & {label, model.name, model.source, str(given.named if isinstance(given, OwnNetwork) else given)}
    ]
    if len(named) != 1:
        what = "several models" if named else "none of the models"
        raise EdgeSRError(f"the baseline '{baseline}' is {what}; choose one of {', '.join(networks)}")
    return named[0], []


def _count_all(networks: dict[str, SRModel], baseline: str | None, progress: Progress) -> list[Complexity]:
    counts = []
    for done, (label, model) in enumerate(networks.items()):
        progress("counting", done, len(networks))
        counts.append(count_complexity(model))
        if label == baseline and not min(counts[-1].macs, counts[-1].parameters):
            raise EdgeSRError(f"{label} has no parameters or FLOPs to be a ratio to; choose another baseline")
    return counts


def _require_memory(counts: Sequence[Complexity], timed: TimedRuns) -> None:
    """Raise `EdgeSRError` where a timed run would fill the machine: the system kills a process that does, unheard."""
    most = max(count.largest / math.prod(count.size) for count in counts)
    needed, available = BYTES_PER_VALUE * most * math.prod(timed.size), available_bytes()
    if timed.runs and available is not None and needed > available:
        raise EdgeSRError(
            f"a run at {timed.size[0]}x{timed.size[1]} may need {needed / 1e9:.0f} GB of memory, "
            f"{available / 1e9:.0f} GB are free; give a smaller --size"
        )


def _measure(model: SRModel, pairs: Sequence[tuple[Path, Path]], progress: Progress) -> QualityReport:
    return measure_quality(_as_image_function(model), pairs, model.scale, progress)


def _as_image_function(model: SRModel) -> ImageFunction:
    """The network on uint8 images: (H, W, 3) to (sH, sW, 3)."""
    runner = TorchRunner(model, torch.float32)
    _require_rgb(model)

    def run(image: np.ndarray) -> np.ndarray:
        output = runner.run(_batch(image, model))[0]
        if not np.isfinite(output).all():
            raise CheckpointError(f"{model.name} gives values that are no numbers; give a checkpoint that is intact")
        return to_uint8(output, model.value_range)

    return run


def _require_rgb(model: SRModel) -> None:
    channels = model.in_channels
    if channels != RGB:
        raise ImageError(
            f"{model.name} takes images of {channels} channels, PSNR is of RGB; leave out --lr and --hr for it"
        )


def _batch(image: np.ndarray, model: SRModel) -> np.ndarray:
    """A uint8 image (H, W, C) as (1, H, W, C) in the network's range."""
    return image[None].astype(np.float32) * np.float32(model.value_range / 255)


def _time_all(networks: dict[str, SRModel], timed: TimedRuns, progress: Progress) -> list[Benchmark | None]:
    """Every network on the same piece of a photograph, taking turns; None for each where no run is wanted."""
    if not timed.runs:
        return [None] * len(networks)
    subjects = []
    for label, model in networks.items():
        runner = TorchRunner(model, torch.float32)
        runner.prepare(_photograph(model, timed.size))
        subjects.append(Subject(label, runner.name, runner.invoke))
    return [*run_interleaved(subjects, timed.runs, timed.warmups, progress)]


def _photograph(model: SRModel, size: tuple[int, int]) -> np.ndarray:
    """The first builtin one, cut or mirrored on, with as many of its channels as the network takes."""
    piece = cut(load_rgb(builtin_calibration_paths()[0]), size)
    return _batch(with_channels(piece, model.in_channels), model)
