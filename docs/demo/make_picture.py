"""Show an exported artifact at work: a photograph magnified by bicubic interpolation beside what the artifact makes.

Usage: python docs/demo/make_picture.py ARTIFACT PHOTO OUTPUT.png
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw

from edgesr.api.verifying import as_image_function
from edgesr.artifact import locate
from edgesr.errors import ArtifactError, EdgeSRError
from edgesr.images import load_rgb, save_png
from edgesr.runtime.runners import open_runner

CAPTION_HEIGHT = 28
GAP = 8


def main(artifact_path: Path, photo_path: Path, output: Path) -> None:
    """Write before and after, side by side, to `output`; raises `EdgeSRError`."""
    manifest, found = locate(artifact_path)
    if len(found) != 1:
        raise ArtifactError(f"{artifact_path} holds {len(found)} artifacts; give one of its files")
    (artifact,) = found
    target = artifact.find_target()
    runner = open_runner(target.runners[0], target, manifest.check(artifact), artifact.contract, threads=2)
    photo = load_rgb(photo_path)
    after = as_image_function(runner, artifact.contract)(photo)
    height, width = after.shape[:2]
    before = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC))
    canvas = Image.new("RGB", (2 * width + GAP, height + CAPTION_HEIGHT), "white")
    captions = (f"bicubic x{artifact.contract.upscale}", f"{artifact.file} in {runner.name}")
    for column, (image, caption) in enumerate(zip((before, after), captions, strict=True)):
        left = column * (width + GAP)
        canvas.paste(Image.fromarray(image), (left, CAPTION_HEIGHT))
        ImageDraw.Draw(canvas).text((left + 4, 8), caption, fill="black")
    save_png(output, np.asarray(canvas))


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("photo", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
def command(artifact: Path, photo: Path, output: Path) -> None:
    """Write OUTPUT.png: PHOTO by bicubic interpolation beside what ARTIFACT makes of it."""
    try:
        main(artifact, photo, output)
    except EdgeSRError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    command()
