"""What two artifacts do when they run: their outputs beside each other, their quality, and their latency."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesr.api.benchmarking import BLOCKS, bench
from edgesr.api.compare_facts import Side
from edgesr.api.compare_rows import PSNR_DB, SSIM, CompareRow, Verdict, finite, measured
from edgesr.api.proving import with_channels
from edgesr.api.running import RunOptions, open_artifact
from edgesr.api.verifying import PARITY_IMAGES, QualityComparison, quality_of
from edgesr.artifact import Artifact, Manifest
from edgesr.errors import ArtifactError
from edgesr.images import load_rgb
from edgesr.progress import Progress, silent
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.runtime.bench import FEW_RUNS, Benchmark
from edgesr.runtime.bench_compare import compare_interleaved
from edgesr.runtime.noise import FEWEST_FREEDOM, student_points
from edgesr.runtime.output_parity import compare_outputs
from edgesr.runtime.quality import QualityReport
from edgesr.runtime.whole_parity import change_db


@dataclass(frozen=True)
class Timing:
    """How latencies are measured, as `edgesr bench` does on this machine."""

    runs: int = FEW_RUNS
    size: tuple[int, int] | None = None
    threads: int = 1
    blocks: int = BLOCKS


def output_rows(a: Side, b: Side, progress: Progress = silent) -> list[CompareRow]:
    """The outputs of both on the builtin photographs, as uint8 images; raises `ArtifactError` where one cannot run."""
    outputs = [list(_outputs(side, progress)) for side in (a, b)]
    found = compare_outputs(np.concatenate(outputs[1]), np.concatenate(outputs[0]), a.artifact.file)
    loss = 0.0 if found.psnr_db is None else change_db(found.psnr_db)
    verdict = Verdict.EQUAL if found.equal else Verdict.SMALL if loss < PSNR_DB else Verdict.MATTERS
    psnr = math.inf if found.psnr_db is None else found.psnr_db
    rule = f"matters where a picture of 30 dB loses {PSNR_DB:g} dB by it"
    rows = (
        ("PSNR to each other, dB", finite(psnr), "equal" if found.equal else f"{psnr:.2f}"),
        ("largest difference, levels of 255", found.max_difference, f"{found.max_difference:.0f}"),
        ("share of values that differ", found.changed_share, f"{found.changed_share:.2%}"),
    )
    return [
        CompareRow("outputs", what, None, value, ("", shown), "", verdict if not index else _minor(found.equal), rule)
        for index, (what, value, shown) in enumerate(rows)
    ]


def _minor(equal: bool) -> Verdict:
    return Verdict.EQUAL if equal else Verdict.SMALL


def _outputs(side: Side, progress: Progress) -> Iterator[np.ndarray]:
    """Flat bytes of each output."""
    opened = open_artifact(side.path, RunOptions(threads=1))
    paths = builtin_calibration_paths()[:PARITY_IMAGES]
    for done, path in enumerate(paths):
        progress(f"running {side.artifact.file}", done, len(paths))
        image = with_channels(load_rgb(path), side.artifact.contract.channels)
        yield opened.tiled.run_bytes(image[None]).ravel()


def measure_qualities(
    sides: Sequence[Side], lr: Path, hr: Path, progress: Progress = silent
) -> list[QualityComparison]:
    """The image quality of artifacts of one manifest, as `verify_quality` measures it, the float network once."""
    return quality_of(sides[0].manifest, [side.artifact for side in sides], lr, hr, progress=progress)


def quality_rows(first: QualityComparison, second: QualityComparison, lr: Path) -> list[CompareRow]:
    """Image quality of both on the same pairs of images, and what either lost."""
    gap, interval = _paired(first.quality, second.quality)
    note = f"98 % of {first.quality.n} images' means: {gap - interval:+.3f} .. {gap + interval:+.3f}"
    seen = not math.isfinite(interval) or abs(gap) > interval
    note = note if math.isfinite(interval) else f"{first.quality.n} images: too few to know the noise"
    of = f"on {lr}"
    pairs = [(getattr(first.quality, name), getattr(second.quality, name)) for name in ("psnr_db", "psnr_y_db", "ssim")]
    return [
        measured("quality", f"PSNR dB {of}", pairs[0], PSNR_DB, 3, note, seen),
        measured("quality", "Y-PSNR dB", pairs[1], PSNR_DB, 3, seen=seen),
        measured("quality", "SSIM", pairs[2], SSIM, 4),
        measured("quality", "drop against the float network, dB", (first.drop_db, second.drop_db), PSNR_DB, 3),
    ]


def _paired(first: QualityReport, second: QualityReport) -> tuple[float, float]:
    """The mean difference in PSNR over the images, and half of its 98 % interval; infinite for too few images."""
    gaps = np.array([y.psnr_db - x.psnr_db for x, y in zip(first.images, second.images, strict=True)])
    gaps = np.where(np.isnan(gaps), 0.0, gaps)  # both are equal to HR
    freedom = len(gaps) - 1
    if freedom < FEWEST_FREEDOM or not np.isfinite(gaps).all():
        return float(gaps.mean()), math.inf
    point, _ = student_points(freedom)
    return float(gaps.mean()), point * float(gaps.std(ddof=1)) / math.sqrt(len(gaps))


def latency_row(a: Side, b: Side, timing: Timing, progress: Progress = silent) -> CompareRow:
    """The latency of both on this machine, interleaved; what counts is the ratio, process by process."""
    with tempfile.TemporaryDirectory(prefix="edgesr-compare-") as name:
        folder = Path(name)
        artifacts = tuple(_linked(folder, place, side) for place, side in (("a", a), ("b", b)))
        Manifest(folder, artifacts).save()
        record = bench(
            folder, timing.size, timing.runs, threads=(timing.threads,), progress=progress, memory=False,
            blocks=timing.blocks,
        )  # fmt: skip
    found = {result.name: result for result in record.results if isinstance(result, Benchmark)}
    first, second = (found[artifact.file] for artifact in artifacts)
    ratio = compare_interleaved(record, first, second)
    height, width = record.size
    interval = f"98 % {ratio.low - 1:+.1%} .. {ratio.high - 1:+.1%}" if math.isfinite(ratio.high) else "noise unknown"
    return CompareRow(
        "latency", f"median ms at {height}x{width}, {first.runner} and {second.runner}, {timing.threads} thread(s)",
        first.median_ms, second.median_ms, (f"{first.median_ms:.3f}", f"{second.median_ms:.3f}"),
        f"{ratio.ratio - 1:+.1%} ({interval})", Verdict.MATTERS if ratio.differs else Verdict.SMALL,
        "matters where the interval over processes leaves out 1 and 2 % (ADR 0011)",
    )  # fmt: skip


def _linked(folder: Path, place: str, side: Side) -> Artifact:
    """The artifact as one of a folder in which both are: its own folder is linked there as `place`."""
    try:
        (folder / place).symlink_to(side.manifest.folder.resolve(), target_is_directory=True)
    except OSError as error:
        raise ArtifactError(f"cannot link {side.manifest.folder} for a benchmark: {error.strerror or error}; "
                            "leave out --bench") from error  # fmt: skip
    artifact = side.artifact
    return dataclasses.replace(
        artifact,
        file=f"{place}/{artifact.file}",
        reference=f"{place}/{artifact.reference}",
        graph=None if artifact.graph is None else f"{place}/{artifact.graph}",
        source=None if artifact.source is None else f"{place}/{artifact.source}",
        companions={f"{place}/{name}": digest for name, digest in artifact.companions.items()},
    )
