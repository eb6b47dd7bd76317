from dataclasses import replace

import pytest

from edgesr.model.training.config import LossWeights, Stage, TrainingConfig
from edgesr.model.training.schedule import Position, learning_rate

STAGE = Stage(steps=1000, batch=1, crop=1, learning_rate=1e-3, losses=LossWeights(l1=1.0))


def test_the_rate_rises_and_falls_to_its_end() -> None:
    rates = [learning_rate(STAGE, step / 1000, step) for step in range(1001)]
    assert rates[0] == pytest.approx(1e-5, rel=1e-2)
    assert rates[:100] == sorted(rates[:100]) and rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[500] == pytest.approx((1e-3 + 1e-6) / 2) and rates[-1] == pytest.approx(1e-6)
    assert learning_rate(replace(STAGE, warmup_steps=0), 0.0, 0) == 1e-3


def test_progress_is_by_steps_or_by_time_whichever_is_further() -> None:
    position = Position(stage_step=250, stage_elapsed_s=30.0)
    assert position.progress(STAGE) == 0.25
    assert position.progress(replace(STAGE, minutes=1.0)) == 0.5
    assert position.progress(replace(STAGE, minutes=10.0)) == 0.25


def test_a_new_stage_starts_its_own_count(two_stages: TrainingConfig) -> None:
    position = Position()
    for _ in range(4):
        position = position.after_step(2.0)
    assert position == Position(4, 0, 4, 8.0, 8.0)
    assert position.next_stage() == Position(4, 1, 0, 8.0, 0.0)
    assert position.next_stage().seconds_left(two_stages) == 4.0
    assert Position(2, 0, 2, 4.0, 4.0).seconds_left(two_stages) == 8.0


def test_time_left_is_bounded_by_minutes(two_stages: TrainingConfig) -> None:
    stages = tuple(replace(stage, steps=10**6, minutes=1.0) for stage in two_stages.stages)
    assert Position(1, 0, 1, 20.0, 20.0).seconds_left(replace(two_stages, stages=stages)) == 100.0
