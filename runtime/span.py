"""What values a tensor takes, and what its integers can hold.

With integers q of b bits standing for s (q - z), the representable reals are s (lowest - z) .. s (highest - z). A value
of the float64 graph is *clipped* when it lies more than half a step outside: up to there the nearest integer is the
rail itself, and nothing but rounding is lost. A value is *railed* when it is clipped and the runtime indeed gave the
rail; where fewer are railed than clipped, the error of earlier operators has brought values back into the range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesr.quantized import QuantParams


@dataclass(frozen=True)
class IntegerSpan:
    """The reals that a tensor's integers span, and the shares (0..1) of its values that lie outside.

    `clips_image` says that the integers lie on the output image's grid, whose saturation is the clip to the value
    range: there the float network's values outside are cut off on purpose.
    """

    bits: int
    lowest: float
    highest: float
    clipped_share: float
    railed_share: float
    clips_image: bool


@dataclass(frozen=True)
class Span:
    """The least and the largest value of the float64 graph's tensor; `integers` None means a float file."""

    low: float
    high: float
    integers: IntegerSpan | None

    @property
    def unwanted_clipped_share(self) -> float:
        """The clipped share where clipping is an error: none in float files and on the output image's grid."""
        return 0.0 if self.integers is None or self.integers.clips_image else self.integers.clipped_share


def measure_span(
    reference: np.ndarray, found: np.ndarray, params: QuantParams | None, output: QuantParams | None
) -> Span:
    """The span of a tensor from its float64 values and the runtime's integers, on the grids of tensor and output."""
    low, high = float(reference.min()), float(reference.max())
    if params is None:
        return Span(low, high, None)
    lowest, highest = ((rail - params.zero_point) * params.scale for rail in (params.lowest, params.highest))
    below, above = reference < lowest - params.scale / 2, reference > highest + params.scale / 2
    railed = (below & (found == params.lowest)) | (above & (found == params.highest))
    shares = float(np.mean(below | above)), float(np.mean(railed))
    return Span(low, high, IntegerSpan(params.bits, lowest, highest, *shares, clips_image=params == output))
