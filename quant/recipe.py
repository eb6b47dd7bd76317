"""Recipes for post-training quantization, and the one function that runs them.

A recipe turns a folded float graph and calibration images into a `QuantizedGraph`. Its stages are separate modules:
quality folds, calibration, equalization, ranges, weight rounding, bias correction. A deeper recipe adds stages between
or after them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edgesr.export.folds.elide_output_clip import ElideOutputClip
from edgesr.export.folds.fold import Fold
from edgesr.export.pipeline import FoldRecord, run_folds
from edgesr.graph import Graph
from edgesr.progress import Progress, silent
from edgesr.quant.bias_correction import correct_bias
from edgesr.quant.calibration import calibrate
from edgesr.quant.equalization import equalize
from edgesr.quant.gptq import round_with_gptq
from edgesr.quant.images import middles
from edgesr.quant.quality_folds import compose_sensitive
from edgesr.quant.ranges import RangeRule, choose_ranges
from edgesr.quant.sequential import Refinement, refine
from edgesr.quant.weights import quantize_weights
from edgesr.quantized import QuantizedGraph
from edgesr.threads import torch_threads

IMAGE_ROUNDING_DB = 10 * math.log10(12 * 255**2)
"""PSNR of an image rounded to 8 bits: uniform rounding has variance step^2 / 12, 58.9 dB below a peak of 255 steps."""


INTEGER_FOLDS: tuple[Fold, ...] = (ElideOutputClip(),)
"""What holds on the 8-bit grid of the output image alone, and so for quantized graphs only."""

REFINING_SIDE = 80
"""Pixels a side of the pieces that weights are refined on: a layer's statistics need no more."""


@dataclass(frozen=True)
class Recipe:
    """How ranges are chosen, how far channels are equalized, and which sensitive tensors are folded away.

    `equalization` is the exponent alpha (0: none). A tensor is sensitive, and folded away, when quantizing it alone
    brings the output below `sensitive_below_db` (0: fold nothing away): by default when its rounding does more harm
    than the rounding of the 8-bit output image itself. Weights are rounded by GPTQ where `gptq` says so, and biases
    corrected where `bias_correction` does, both on `refining_images` of the images.
    """

    name: str
    ranges: RangeRule = field(default_factory=RangeRule)
    equalization: float = 0.5
    sensitive_below_db: float = IMAGE_ROUNDING_DB
    gptq: bool = True
    bias_correction: bool = True
    refining_images: int = 12

    def __post_init__(self) -> None:
        """Refuse exponents that do more than make all channels alike, and refinement on nothing."""
        if not 0 <= self.equalization <= 1:
            raise ValueError(f"recipe '{self.name}': equalization {self.equalization} lies outside 0..1")
        if self.refining_images < 1:
            raise ValueError(f"recipe '{self.name}': refining_images {self.refining_images} is not positive")

    def refinements(self) -> list[Refinement]:
        """What refines the rounded weights of each layer, in order."""
        stages: list[tuple[bool, Refinement]] = [(self.gptq, round_with_gptq), (self.bias_correction, correct_bias)]
        return [stage for wanted, stage in stages if wanted]


RECIPES: tuple[Recipe, ...] = (Recipe("fast"),)


@dataclass(frozen=True, eq=False)
class Quantization:
    """A quantized graph and how it came about."""

    network: QuantizedGraph
    recipe: Recipe
    folds: tuple[FoldRecord, ...]
    calibration_images: int


def quantize(graph: Graph, images: Sequence[np.ndarray], recipe: Recipe, progress: Progress = silent) -> Quantization:
    """Quantize a folded float graph after training, with uint8 RGB calibration images (H, W, 3).

    The same images give the same integers on any number of cores: all of it runs in one thread. Raises
    `CalibrationError` where the images give no usable ranges, and `ExportError` where the graph allows none.
    """
    with torch_threads(1):
        return _quantize(graph, images, recipe, progress)


def _quantize(graph: Graph, images: Sequence[np.ndarray], recipe: Recipe, progress: Progress) -> Quantization:
    graph, folds = run_folds(graph, INTEGER_FOLDS)
    calibration = calibrate(graph, images, progress)
    if recipe.sensitive_below_db > 0:
        graph, more = compose_sensitive(graph, images, calibration, recipe.ranges, recipe.sensitive_below_db, progress)
        folds = [*folds, *more]
        calibration = {name: calibration[name] for name in graph.specs}  # exact folds keep the values of what is left
    if recipe.equalization > 0:
        graph, calibration = equalize(graph, calibration, recipe.equalization)
    activations = choose_ranges(graph, calibration, recipe.ranges)
    network = QuantizedGraph(graph, activations, quantize_weights(graph, activations))
    pieces = middles(images, recipe.refining_images, REFINING_SIDE, graph.size_multiple)
    network = refine(network, pieces, recipe.refinements(), progress)
    return Quantization(network, recipe, tuple(folds), len(images))
