"""How long, how fast and on what a student learns."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Kind(enum.Enum):
    """The kinds of learned parameters (see student)."""

    SCALES = "scales"
    STEPS = "steps"
    ZEROS = "zeros"
    BIASES = "biases"
    WEIGHTS = "weights"


@dataclass(frozen=True)
class FitPlan:
    """One stage of learning: Adam's learning rate for each kind of parameter that moves, and how many steps.

    `label_share` is the weight of the truth in the loss, the rest is the float network's; `mean_decay` that of the
    exponential mean of the parameters, which is the result. Rates are per step in the parameter's own unit: logarithms,
    integers of the zero point, steps of the output for biases and of the INT8 grid for weights. Before the stage the
    weights of the first `rounded_share` of the convolutions are rounded for good: what rounding did to the function,
    the others can still make up for (Zhou et al., Incremental Network Quantization, 2017).
    """

    name: str
    steps: int
    rates: Mapping[Kind, float]
    label_share: float = 0.0
    batch: int = 8
    mean_decay: float = 0.995
    seed: int = 0
    rounded_share: float = 0.0

    def __post_init__(self) -> None:
        """Refuse plans that do nothing, and losses that are no mean."""
        if self.steps < 1 or self.batch < 1 or not self.rates:
            raise ValueError(f"plan '{self.name}': steps and batch must be positive, and something must move")
        if not 0 <= self.label_share < 1 or not 0 <= self.mean_decay < 1:
            raise ValueError(f"plan '{self.name}': label_share and mean_decay lie in 0..1, 1 excluded")
        if not 0 <= self.rounded_share <= 1:
            raise ValueError(f"plan '{self.name}': rounded_share {self.rounded_share} is no share")
        if self.rounded_share and Kind.SCALES in self.rates:
            raise ValueError(f"plan '{self.name}': channel scales cannot move under rounded weights")


RANGES = FitPlan(
    "learning ranges", 300, {Kind.SCALES: 9e-3, Kind.STEPS: 6e-3, Kind.ZEROS: 0.05, Kind.BIASES: 3e-3}, seed=1
)
DISTILLATION = FitPlan(
    "distilling", 8000,
    {Kind.SCALES: 6e-3, Kind.STEPS: 4e-3, Kind.ZEROS: 0.05, Kind.BIASES: 3e-3, Kind.WEIGHTS: 1e-3},
    label_share=0.3, seed=2,
)  # fmt: skip


def _rounded(share: float, seed: int) -> FitPlan:
    """Distillation of what is not yet rounded."""
    rates = {Kind.STEPS: 2e-3, Kind.ZEROS: 0.03, Kind.BIASES: 3e-3, Kind.WEIGHTS: 1e-3}
    return FitPlan(f"distilling, {share:.0%} rounded", 500, rates, label_share=0.3, seed=seed, rounded_share=share)


ROUNDING = (_rounded(0.25, 3), _rounded(0.5, 4))
"""Three quarters, and all of them, brought nothing more (docs/numerics.md) and cost 800 steps."""
