"""All images of one learned quantization: patches to learn from, pieces to round on, images to choose on.

Nothing is both learned from and chosen on, where there is more than one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgesr.graph import Graph
from edgesr.images import Image8
from edgesr.quant.images import middles, spread
from edgesr.quant.learning.hard_images import hard_images
from edgesr.quant.learning.patches import PATCH_SIDE, Mixture, Patches, make_patches, mirrored_to
from edgesr.quant.learning.truth import undoes_reduction
from edgesr.quant.photographs import LabelledImage, hold_out, labelled
from edgesr.quant.selection import Closeness, Faithfulness, Judge

STARTING_IMAGES = 48
ROUNDING_IMAGES = 12
ROUNDING_HARD_IMAGES = 12
ROUNDING_SIDE = 80
CHOOSING_IMAGES = 60
CHOOSING_HARD_IMAGES = 30
CHOOSING_SIDE = 128
HARD_SIDE = 64


@dataclass(frozen=True, eq=False)
class Material:
    """What a student starts, learns and is rounded on, uint8 images (H, W, 3), and who compares results."""

    starting: tuple[Image8, ...]
    patches: Patches
    rounding: tuple[Image8, ...]
    judge: Judge


def gather(graph: Graph, images: Sequence[Image8], mixture: Mixture, seed: int) -> Material:
    """The material that plain images give for a float network, the same for the same seed."""
    learned, held = hold_out(images)
    generator = np.random.default_rng(seed)
    multiple = graph.size_multiple
    side, hard_side = (max(1, n // multiple) * multiple for n in (PATCH_SIDE, HARD_SIDE))
    pairs = [pair for pair in _pairs(graph, learned) if min(pair.lr.shape[:2]) >= side]
    kept = _pairs(graph, held)
    has_truth = bool(kept) and undoes_reduction(graph, pairs)
    inputs = _inputs(graph, learned)
    patches = make_patches(
        graph, pairs if has_truth else [], learned if has_truth else inputs, mixture, generator, side
    )
    starting = middles(inputs, STARTING_IMAGES, CHOOSING_SIDE, multiple)
    rounding = middles(inputs, ROUNDING_IMAGES, ROUNDING_SIDE, multiple)
    rounding += [x.lr for x in hard_images(inputs, ROUNDING_HARD_IMAGES, hard_side, 1, generator)]
    judge: Judge
    if has_truth:
        hard = hard_images([pair.hr for pair in kept], CHOOSING_HARD_IMAGES, hard_side, int(graph.scale), generator)
        judge = Faithfulness(graph, spread(kept, CHOOSING_IMAGES), hard)
    else:
        choosing = middles(_inputs(graph, held), CHOOSING_IMAGES, CHOOSING_SIDE, multiple)
        hard = hard_images(_inputs(graph, held), max(1, len(choosing) // 3), hard_side, 1, generator)
        judge = Closeness(graph, choosing + [x.lr for x in hard])
    return Material(tuple(starting), patches, tuple(rounding), judge)


def _pairs(graph: Graph, images: Sequence[Image8]) -> list[LabelledImage]:
    """The images that are their own labels; none where the network's scale is no whole number."""
    return labelled(images, int(graph.scale), graph.size_multiple) if graph.scale.denominator == 1 else []


def _inputs(graph: Graph, images: Sequence[Image8]) -> list[Image8]:
    """What the network will see: the images reduced where that leaves a patch, and as they are."""
    reduced = [pair.lr for pair in _pairs(graph, images)]
    large = [image for image in reduced if min(image.shape[:2]) >= PATCH_SIDE]
    multiple = graph.size_multiple
    plain = [mirrored_to(image, multiple) for image in images]
    return large + spread(plain, max(1, len(large) // 4)) if large else plain
