"""Photographs as their own labels: reduced by the network's scale, an image is an input whose truth is the image.

Deeper recipes learn on such pairs and choose between results on others that they never learned on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesr.degradation import crop_to_multiple, downsample
from edgesr.images import list_images, load_rgb
from edgesr.progress import Progress, silent
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.quant.images import Item, centre, spread

MAX_PHOTOGRAPHS = 400
MAX_PHOTOGRAPH_SIDE = 512
MIN_INPUT_SIDE = 16
"""A reduced image below this is mostly border."""
HELD_OUT_EVERY = 5
"""One image in so many is kept from learning, to choose between results on."""


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An input (H, W, 3) and the image (sH, sW, 3) that it was reduced from, both uint8 RGB."""

    lr: np.ndarray
    hr: np.ndarray


def load_photographs(folder: Path | None, progress: Progress = silent) -> tuple[np.ndarray, ...]:
    """At most 400 images of a folder, or of the builtin set where it is None, cut to their middle 512 pixels a side.

    Raises `ImageError` for an unreadable folder or image.
    """
    paths = builtin_calibration_paths() if folder is None else list_images(folder)
    chosen = spread(paths, MAX_PHOTOGRAPHS)
    images: list[np.ndarray] = []
    for done, path in enumerate(chosen):
        progress("reading photographs", done, len(chosen))
        images.append(centre(load_rgb(path), 1, MAX_PHOTOGRAPH_SIDE))
    progress("reading photographs", len(chosen), len(chosen))
    return tuple(images)


def hold_out(images: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Images to learn on and, one in five, images to choose on; of fewer than two images each is both."""
    if len(images) < 2:
        return list(images), list(images)
    first = min(HELD_OUT_EVERY, len(images)) - 1
    held = set(range(first, len(images), HELD_OUT_EVERY))
    return [x for i, x in enumerate(images) if i not in held], [x for i, x in enumerate(images) if i in held]


def labelled(images: Sequence[np.ndarray], scale: int, size_multiple: int = 1) -> list[LabelledImage]:
    """Each image with itself reduced by the network's scale; images too small for an input of 16 pixels are left out.

    A network that keeps the size has no such labels: its inputs are the images and so are its labels.
    """
    pairs: list[LabelledImage] = []
    for image in images:
        hr = crop_to_multiple(image, scale * size_multiple)
        if min(hr.shape[:2]) >= max(MIN_INPUT_SIDE, size_multiple) * scale:
            pairs.append(LabelledImage(downsample(hr, scale), hr))
    return pairs
