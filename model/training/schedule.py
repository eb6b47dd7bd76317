"""Where a run stands among its stages, and the learning rate there: a cosine for each stage, restarted warm."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from edgesr.model.training.config import Stage, TrainingConfig


@dataclass(frozen=True)
class Position:
    """Steps taken in all and within the stage, and the seconds spent in all and within it."""

    step: int = 0
    stage: int = 0
    stage_step: int = 0
    elapsed_s: float = 0.0
    stage_elapsed_s: float = 0.0

    def after_step(self, seconds: float) -> Position:
        """One step further, which took that long."""
        return Position(
            self.step + 1, self.stage, self.stage_step + 1, self.elapsed_s + seconds, self.stage_elapsed_s + seconds
        )

    def next_stage(self) -> Position:
        """At the start of the next stage."""
        return replace(self, stage=self.stage + 1, stage_step=0, stage_elapsed_s=0.0)

    def progress(self, stage: Stage) -> float:
        """How far the stage is, from 0 to 1 and beyond, in steps or in time, whichever is further."""
        in_time = self.stage_elapsed_s / (60 * stage.minutes) if stage.minutes else 0.0
        return max(self.stage_step / stage.steps, in_time)

    def seconds_left(self, config: TrainingConfig) -> float:
        """A guess: what is left of this stage at its own pace, and the later ones at the pace of all steps."""
        if not self.step:
            return math.nan
        pace = self.elapsed_s / self.step
        left = 0.0
        for index, stage in list(enumerate(config.stages))[self.stage :]:
            by_steps = (stage.steps - (self.stage_step if index == self.stage else 0)) * pace
            spent = self.stage_elapsed_s if index == self.stage else 0.0
            left += min(by_steps, 60 * stage.minutes - spent) if stage.minutes else by_steps
        return max(left, 0.0)


def learning_rate(stage: Stage, progress: float, stage_step: int) -> float:
    """The cosine over `progress` in [0, 1], times a linear rise over the first steps."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    decayed = stage.final_learning_rate + (stage.learning_rate - stage.final_learning_rate) * cosine
    return decayed * min(1.0, (stage_step + 1) / stage.warmup_steps) if stage.warmup_steps else decayed
