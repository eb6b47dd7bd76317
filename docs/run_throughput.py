"""Throughput of `edgesr run` on a folder beside the bare runner on the same images and tiles, both in this process.

Usage: python docs/run_throughput.py ARTIFACT... [--images 8] [--rounds 7] [--threads 1] [--size 270x480]

The bare runner computes every tile of every image from bytes that are in memory, and throws the result away; `run`
reads PNG files, computes the same tiles, and writes PNG files. The two take turns, each round gives one ratio, and the
median of the ratios is what counts: a machine that others use too slows both. Images are pieces of the photographs that
calibrate INT8 files, enlarged to the size where they are smaller.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from edgesr.api.running import OpenedArtifact, RunOptions, open_artifact, run
from edgesr.cli.console import Size, print_table
from edgesr.degradation import resized
from edgesr.errors import EdgeSRError
from edgesr.images import load_rgb, save_png
from edgesr.quant.builtin import builtin_calibration_paths


def measure(
    path: Path, folder: Path, images: list[np.ndarray], rounds: int, options: RunOptions
) -> tuple[list[float], list[float]]:
    """Images a second of the bare runner and of `run`, round by round; the first, untimed one warms up."""
    bare, ran = [], []
    for turn in range(rounds + 1):
        bare_s = bare_seconds(open_artifact(path, options), images)  # as fresh as that of the run beside it
        record = run(path, folder, folder.with_name("out"), options)
        shutil.rmtree(folder.with_name("out"))
        if record.failures or record.elapsed_s <= 0:
            raise EdgeSRError(f"the run failed: {record.failures[0].why}; nothing was measured")
        if turn:
            bare.append(len(images) / bare_s)
            ran.append(len(images) / record.elapsed_s)
    return bare, ran


def bare_seconds(opened: OpenedArtifact, images: list[np.ndarray]) -> float:
    """Time of the runner alone: every tile of every image."""
    height, width = images[0].shape[:2]
    plan = opened.tiled.plan((height, width))
    started = time.perf_counter()
    for image in images:
        for row in plan.rows:
            for column in plan.columns:
                tile = image[None, row.start : row.start + plan.tile[0], column.start : column.start + plan.tile[1]]
                opened.runner.compute_tensor(tile)
    return time.perf_counter() - started


def photographs(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Different photographs of one size (H, W)."""
    paths = builtin_calibration_paths()
    pictures = [resized(load_rgb(paths[i % len(paths)]), size) for i in range(count)]
    return [np.ascontiguousarray(np.roll(picture, i, axis=1)) for i, picture in enumerate(pictures)]


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--images", default=8, show_default=True, type=click.IntRange(1))
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@click.option("--size", default="270x480", show_default=True, type=Size())
def command(artifacts: tuple[Path, ...], images: int, rounds: int, threads: int, size: tuple[int, int]) -> None:
    """Print the median ratio of throughputs for each of ARTIFACTS, with the rounds' own."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="edgesr-") as place:
        folder, pictures = Path(place) / "in", photographs(images, size)
        for index, picture in enumerate(pictures):
            save_png(folder / f"{index:03}.png", picture)
        for path in artifacts:
            bare, ran = measure(path, folder, pictures, rounds, RunOptions(threads=threads))
            ratios = [mine / its for mine, its in zip(ran, bare, strict=True)]
            shown = " ".join(f"{ratio:.3f}" for ratio in ratios)
            medians = [statistics.median(each) for each in (bare, ran, ratios)]
            rows.append((path.name, f"{medians[0]:.1f}", f"{medians[1]:.1f}", f"{medians[2]:.3f}", shown))
    print_table(("file", "bare images/s", "run images/s", "run / bare", "rounds"), rows, right=(1, 2, 3))
    click.echo(
        f"\n{images} photographs of {size[0]}x{size[1]}, {threads} thread{'s' if threads > 1 else ''}, {rounds} rounds"
    )


if __name__ == "__main__":
    command()
