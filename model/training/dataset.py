"""Photographs in memory, and random aligned pairs of crops from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesr.degradation import crop_to_multiple, downsample
from edgesr.errors import ImageError
from edgesr.images import list_images, load_rgb


@dataclass(frozen=True)
class Pair:
    """One photograph: `hr` is (scale*H, scale*W, 3) and `lr` (H, W, 3), both uint8 RGB."""

    lr: NDArray[np.uint8]
    hr: NDArray[np.uint8]


def load_pairs(folder: Path, scale: int, crop: int) -> tuple[Pair, ...]:
    """Read every photograph of `folder`, by name, and degrade it; `crop` is the side of the LR crops to be taken.

    Raises:
        ImageError: there are none, one is unreadable, or one is too small for a crop.

    """
    return tuple(_load_pair(path, scale, crop) for path in list_images(folder))


def _load_pair(path: Path, scale: int, crop: int) -> Pair:
    """Read and degrade one photograph."""
    hr = crop_to_multiple(load_rgb(path), scale)
    if min(hr.shape[:2]) < crop * scale:
        raise ImageError(f"{path} is smaller than a training crop of {crop * scale} pixels; remove it")
    return Pair(downsample(hr, scale), hr)


def sample_batch(
    pairs: tuple[Pair, ...], generator: np.random.Generator, batch: int, crop: int, scale: int
) -> tuple[Tensor, Tensor]:
    """Draw `batch` random crops: LR (N, 3, crop, crop) and HR (N, 3, scale*crop, scale*crop), float32 in [0, 1].

    Photographs are drawn with equal probability; each crop is turned by one of the eight symmetries of the square.
    """
    crops = [_sample_crop(pairs[generator.integers(len(pairs))], generator, crop, scale) for _ in range(batch)]
    return _to_tensor([lr for lr, _ in crops]), _to_tensor([hr for _, hr in crops])


def _sample_crop(
    pair: Pair, generator: np.random.Generator, crop: int, scale: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Cut one aligned pair of crops and turn both the same way."""
    top = int(generator.integers(pair.lr.shape[0] - crop + 1))
    left = int(generator.integers(pair.lr.shape[1] - crop + 1))
    quarter_turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
    lr = pair.lr[top : top + crop, left : left + crop]
    hr = pair.hr[top * scale : (top + crop) * scale, left * scale : (left + crop) * scale]
    return _turn(lr, quarter_turns, mirrored), _turn(hr, quarter_turns, mirrored)


def _turn(image: NDArray[np.uint8], quarter_turns: int, mirrored: bool) -> NDArray[np.uint8]:
    """Rotate (H, W, 3) by quarter turns, then mirror it."""
    turned = np.rot90(image, quarter_turns)
    return turned[:, ::-1] if mirrored else turned


def _to_tensor(images: list[NDArray[np.uint8]]) -> Tensor:
    """Stack (H, W, 3) uint8 images into one (N, 3, H, W) float32 tensor in [0, 1]."""
    stacked = np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
    return torch.from_numpy(stacked).float() / 255.0
