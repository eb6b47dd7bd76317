"""The score of the NTIRE efficient super-resolution challenge, from what a network costs beside a baseline.

    score_x = exp(2 x / x_baseline)        for x = runtime, FLOPs, parameters
    score   = 0.8 score_runtime + 0.1 score_FLOPs + 0.1 score_parameters

Lower is better; the baseline has exp(2) = 7.389 throughout, and a network that costs nothing 1. Source: the section on
ranking in the README of github.com/Amazingren/NTIRE2026_ESR (report: arXiv 2604.03198). The challenge of 2025 had the
same form with weights 0.7, 0.15 and 0.15 (arXiv 2504.10686). Quality is no part of it: networks under a threshold of
PSNR on the challenge's own images are not ranked at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

RUNTIME_WEIGHT, FLOPS_WEIGHT, PARAMETERS_WEIGHT = 0.8, 0.1, 0.1
STEEPNESS = 2.0


@dataclass(frozen=True)
class Cost:
    """What is scored, each in any unit of its own: only ratios count."""

    runtime: float
    flops: float
    parameters: float

    def __post_init__(self) -> None:
        """Refuse what no measurement gives."""
        if not all(0 <= x < math.inf for x in (self.runtime, self.flops, self.parameters)):
            raise ValueError(f"a cost is no number that is at least 0: {self}")

    @property
    def is_baseline(self) -> bool:
        """Whether others can be ratios to it."""
        return min(self.runtime, self.flops, self.parameters) > 0


@dataclass(frozen=True)
class ChallengeScore:
    """The scores of the three sub-tracks; infinite where a ratio is beyond what a float holds the exponential of."""

    runtime: float
    flops: float
    parameters: float

    @property
    def final(self) -> float:
        """The score of the main track."""
        return RUNTIME_WEIGHT * self.runtime + FLOPS_WEIGHT * self.flops + PARAMETERS_WEIGHT * self.parameters

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"final": self.final, "runtime": self.runtime, "flops": self.flops, "parameters": self.parameters}


def challenge_score(cost: Cost, baseline: Cost) -> ChallengeScore:
    """The scores of `cost`; raises ValueError for a baseline that costs nothing in one of the three."""
    if not baseline.is_baseline:
        raise ValueError(f"nothing is a ratio to a baseline that costs nothing: {baseline}")
    return ChallengeScore(
        _score(cost.runtime / baseline.runtime),
        _score(cost.flops / baseline.flops),
        _score(cost.parameters / baseline.parameters),
    )


def _score(ratio: float) -> float:
    try:
        return math.exp(STEEPNESS * ratio)
    except OverflowError:
        return math.inf
