"""Recipes for post-training quantization: how much is done for quality, by name.

A recipe is data; `quantize` runs it. Each level does what the level before does, and more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from edgesr.errors import ExportError
from edgesr.export.folds.elide_output_clip import ElideOutputClip
from edgesr.export.folds.fold import Fold
from edgesr.export.folds.pad_with_mean import PadWithMean
from edgesr.quant.bias_correction import correct_bias
from edgesr.quant.gptq import round_with_gptq
from edgesr.quant.learning.patches import Mixture
from edgesr.quant.learning.plan import DISTILLATION, RANGES, ROUNDING, FitPlan
from edgesr.quant.ranges import RangeRule
from edgesr.quant.sequential import Refinement

IMAGE_ROUNDING_DB = 10 * math.log10(12 * 255**2)
"""PSNR of an image rounded to 8 bits: uniform rounding has variance step^2 / 12, 58.9 dB below a peak of 255 steps."""


INTEGER_FOLDS: tuple[Fold, ...] = (ElideOutputClip(), PadWithMean())
"""What holds on the 8-bit grids of the images alone, or is of use on them alone, and so for quantized graphs only."""


@dataclass(frozen=True)
class Recipe:
    """How ranges are chosen, how far channels are equalized, and which sensitive tensors are folded away.

    `equalization` is the exponent alpha (0: none). A tensor is sensitive, and spared by another form of the graph,
    when quantizing it alone brings the output below `sensitive_below_db` (0: none is): by default when its rounding
    does more harm than the rounding of the 8-bit output image itself. Such forms may multiply the graph's MACs by
    `max_mac_growth` at most; with `sign_split`, products may be split by sign. Weights are rounded by GPTQ where `gptq`
    says so, and biases corrected where `bias_correction` does, both on `refining_images` of the images.

    `learning` are the stages of learning, on patches of that `mixture`; what each stage ends with is rounded and
    compared with what there was before, and the better one is kept.
    """

    name: str
    ranges: RangeRule = field(default_factory=RangeRule)
    equalization: float = 0.5
    sensitive_below_db: float = IMAGE_ROUNDING_DB
    gptq: bool = True
    bias_correction: bool = True
    refining_images: int = 12
    max_mac_growth: float = 1.45
    sign_split: bool = False
    learning: tuple[FitPlan, ...] = ()
    mixture: Mixture = field(default_factory=Mixture)
    seed: int = 0

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


READY = "ready"
"""The recipe that takes what ships with edgesr (see ready) where that fits, and is `fast` elsewhere."""

RECIPES: tuple[Recipe, ...] = (
    Recipe(READY),
    Recipe("fast"),
    Recipe("balanced", sign_split=True, learning=(RANGES,)),
    Recipe("best", sign_split=True, learning=(RANGES, DISTILLATION, *ROUNDING)),
)


def find_recipe(name: str) -> Recipe:
    """The recipe of that name; raises `ExportError` for none."""
    found = next((recipe for recipe in RECIPES if recipe.name == name), None)
    if found is None:
        raise ExportError(f"no recipe is called '{name}'; choose from {', '.join(recipe.name for recipe in RECIPES)}")
    return found
