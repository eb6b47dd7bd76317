from dataclasses import replace
from typing import Any

import pytest

from edgesr.errors import TrainingError
from edgesr.model.training.config import LossWeights, NoiseConfig, OptimizerConfig, RunConfig, TrainingConfig


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "steps, batch and crop are at least 1"),
        ({"crop": -3}, "steps, batch and crop are at least 1"),
        ({"final_learning_rate": 1.0}, "final <= learning_rate"),
        ({"learning_rate": 0.0, "final_learning_rate": 0.0}, "learning_rate is above 0"),
        ({"minutes": -1.0}, "warmup_steps and minutes"),
    ],
)
def test_stages_that_cannot_run_are_refused(two_stages: TrainingConfig, change: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        replace(two_stages.stages[0], **change)


@pytest.mark.parametrize("weights", [{}, {"l1": -1.0}, {"mse": float("nan")}, {"fft": float("inf")}])
def test_losses_of_nothing_or_less_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match="losses: "):
        LossWeights(**weights)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stages": ()}, r"add a \[\[stages\]\] table"),
        ({"scale": 5}, "scale: 5 is none of 1 to 4"),
        ({"scale": 1}, r"nothing to learn without a \[noise\] table"),
        ({"noise": NoiseConfig()}, "only scale 1 learns to remove noise, not x2"),
        ({"seed": -1}, "seed"),
    ],
)
def test_runs_that_make_no_sense_are_refused(two_stages: TrainingConfig, change: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        replace(two_stages, **change)


def test_ranges_are_checked() -> None:
    with pytest.raises(TrainingError, match="noise: "):
        NoiseConfig(10, 5)
    with pytest.raises(TrainingError, match="mean_decay"):
        OptimizerConfig(mean_decay=1.0)
    with pytest.raises(TrainingError, match="intervals are at least 1"):
        RunConfig(report_every=0)


def test_totals(two_stages: TrainingConfig) -> None:
    assert two_stages.total_steps == 6 and two_stages.largest_crop == 6
