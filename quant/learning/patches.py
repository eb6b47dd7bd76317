"""What is learned from: patches of inputs, what the float network makes of them, and the truth where it is known.

Patches come from photographs reduced by the network's scale, whose truth is the photograph, from hard images made of
them (see hard_images), and from the images as they are: an input may be as soft as a photograph at its own size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgesr.graph import Graph
from edgesr.images import Image8
from edgesr.quant.learning.hard_images import hard_images
from edgesr.quant.photographs import LabelledImage

PATCH_SIDE = 32
TEACHER_BATCH = 32


@dataclass(frozen=True)
class Mixture:
    """How many patches, and which share of them is hard, and which share of the rest is images as they are.

    Where no truth is known, all of the rest are.
    """

    count: int = 4800
    hard_share: float = 0.2
    plain_share: float = 0.2

    def __post_init__(self) -> None:
        """Refuse mixtures of nothing, and shares that are none."""
        if self.count < 1 or not 0 <= self.hard_share <= 1 or not 0 <= self.plain_share <= 1:
            raise ValueError(f"{self}: count must be positive, and shares lie in 0..1")


@dataclass(frozen=True, eq=False)
class Patches:
    """uint8 inputs (N, C, p, p), the float network's clipped outputs (N, C, sp, sp) in float16, and uint8 labels.

    float16 resolves a step of the 8-bit output 8 times at its coarsest. Where no truth is known, the label is the float
    network's output.
    """

    inputs: Tensor
    targets: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Indices of batch after batch, forever, each patch once before any comes again."""
        size = min(size, len(self))
        while True:
            order = torch.randperm(len(self), generator=generator)
            yield from order[: len(self) // size * size].reshape(-1, size)


def make_patches(
    graph: Graph, pairs: Sequence[LabelledImage], images: Sequence[Image8], mixture: Mixture,
    generator: np.random.Generator, side: int = PATCH_SIDE,
) -> Patches:  # fmt: skip
    """Patches of labelled pairs, of images as they are, and of hard images, whose truth is known where pairs are."""
    pairs = [pair for pair in pairs if min(pair.lr.shape[:2]) >= side]
    scale = int(graph.scale) if pairs else 1
    sources = [pair.hr for pair in pairs] or list(images)
    hard = hard_images(sources, round(mixture.count * mixture.hard_share), side, scale, generator)
    rest = mixture.count - len(hard)
    plain = round(rest * mixture.plain_share) if pairs else rest
    drawn = [_pair_patch(pairs, side, generator) for _ in range(rest - plain)]
    bare = [_patch(images, side, generator) for _ in range(plain)]
    patches = torch.stack([_chw(image) for image in (*bare, *(pair.lr for pair in (*hard, *drawn)))])
    targets = _teach(graph, patches)
    labels = (targets.float() * 255).round().byte()
    if pairs:
        for i, pair in enumerate((*hard, *drawn), len(bare)):
            labels[i] = _chw(pair.hr)
    return Patches(patches, targets, labels)


def _teach(graph: Graph, patches: Tensor) -> Tensor:
    with torch.no_grad():
        parts = [
            graph.execute(patches[i : i + TEACHER_BATCH].float() / 255).clamp(0, 1).half()
            for i in range(0, len(patches), TEACHER_BATCH)
        ]
    return torch.cat(parts)


def _patch(images: Sequence[Image8], side: int, generator: np.random.Generator) -> Image8:
    """A random square of a random image, turned."""
    image = mirrored_to(images[int(generator.integers(len(images)))], side)
    top, left = (int(generator.integers(n - side + 1)) for n in image.shape[:2])
    return _turned(image[top : top + side, left : left + side], *_symmetry(generator))


def _pair_patch(pairs: Sequence[LabelledImage], side: int, generator: np.random.Generator) -> LabelledImage:
    """A random aligned pair of squares, turned alike."""
    pair = pairs[int(generator.integers(len(pairs)))]
    scale = pair.hr.shape[0] // pair.lr.shape[0]
    top, left = (int(generator.integers(n - side + 1)) for n in pair.lr.shape[:2])
    low = pair.lr[top : top + side, left : left + side]
    high = pair.hr[top * scale : (top + side) * scale, left * scale : (left + side) * scale]
    symmetry = _symmetry(generator)
    return LabelledImage(_turned(low, *symmetry), _turned(high, *symmetry))


def mirrored_to(image: Image8, side: int) -> Image8:
    """The image, where it is smaller than `side` continued by its mirror image."""
    missing = [(0, max(0, side - n)) for n in image.shape[:2]]
    return np.pad(image, [*missing, (0, 0)], mode="symmetric")


def _symmetry(generator: np.random.Generator) -> tuple[int, bool]:
    """Quarter turns, and whether to mirror."""
    return int(generator.integers(4)), bool(generator.integers(2))


def _turned(image: Image8, quarters: int, mirrored: bool) -> Image8:
    turned = np.rot90(image, quarters)
    return turned[:, ::-1] if mirrored else turned


def _chw(image: Image8) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
