"""The training loop: stage after stage, step after step, with an observer told of every step.

Losses are read from the device a few steps late, so that a GPU never waits for Python; whatever is written is written
after they were read and found finite.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from edgesr.errors import EdgeSRError
from edgesr.model.training.batches import Batch, CropSource, batches_ahead
from edgesr.model.training.config import Stage
from edgesr.model.training.interruption import StopRequest
from edgesr.model.training.optimization import Optimization
from edgesr.model.training.schedule import learning_rate

SETTLE_EVERY = 20


@dataclass(frozen=True, eq=False)
class StepTaken:
    """One step, counted from 1, and this process's share of its batch."""

    step: int
    batch: Batch
    learning_rate: float


@dataclass(frozen=True, eq=False)
class StepFigures:
    """What a step measured on its whole batch, before it changed the weights."""

    taken: StepTaken
    loss: float
    mse: float


class DivergedStepError(EdgeSRError):
    """A step's loss or gradient is not finite."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss is not finite at step {step}")
        self.step = step


class Observer(Protocol):
    """What is told of a run, between steps."""

    def due(self) -> bool:
        """Whether it wants the figures of the steps so far now."""

    def settled(self, figures: tuple[StepFigures, ...]) -> None:
        """Hear of steps whose figures are known and finite; the state is that after the last of them."""

    def stopped(self) -> None:
        """Hear that a signal asked the run to stop, and raise."""


class Settling:
    """Figures that are still on the device."""

    def __init__(self) -> None:
        self._waiting: list[tuple[StepTaken, Tensor]] = []

    def add(self, taken: StepTaken, measured: Tensor) -> None:
        """Keep what a step measured: loss, mean squared error, norm of the gradient."""
        self._waiting.append((taken, measured))

    def __len__(self) -> int:
        return len(self._waiting)

    def read(self) -> tuple[StepFigures, ...]:
        """All figures; raises `DivergedStepError` for the first that is not finite."""
        if not self._waiting:
            return ()
        rows = torch.stack([measured for _, measured in self._waiting]).double().cpu()
        figures = []
        for (taken, _), row in zip(self._waiting, rows, strict=True):
            if not bool(row.isfinite().all()):
                raise DivergedStepError(taken.step)
            figures.append(StepFigures(taken, float(row[0]), float(row[1])))
        self._waiting.clear()
        return tuple(figures)


def run_stages(optimization: Optimization, source: CropSource, observer: Observer, stop: StopRequest) -> None:
    """Take the state from where it is to the end of the last stage; raises `DivergedStepError`."""
    state, stages = optimization.state, optimization.config.stages
    while state.position.stage < len(stages):
        stage = stages[state.position.stage]
        position = state.position
        steps = range(position.step, position.step + stage.steps - position.stage_step)
        run, pin = optimization.config.run, optimization.device.type == "cuda"
        share = optimization.group.share(stage.batch)
        with closing(batches_ahead(source, steps, share, stage.crop, run.loaders, pin)) as batches:
            _run_stage(optimization, stage, batches, observer, stop)
        state.position = state.position.next_stage()


def _run_stage(
    optimization: Optimization, stage: Stage, batches: Iterable[Batch], observer: Observer, stop: StopRequest
) -> None:
    """Take the steps of one stage, as many as there are batches and time for, or until a stop is asked for."""
    state, settling = optimization.state, Settling()
    began, stopping = time.monotonic(), 0.0
    for batch in batches:
        here = (float(stop.made), state.position.progress(stage))
        stopping, progress = optimization.group.largest(here, optimization.device)
        if stopping or progress >= 1:
            break
        rate = learning_rate(stage, progress, state.position.stage_step)
        settling.add(StepTaken(state.position.step + 1, batch, rate), optimization.step(batch, stage, rate))
        now = time.monotonic()
        state.position, began = state.position.after_step(now - began), now
        if len(settling) >= SETTLE_EVERY or observer.due():
            observer.settled(settling.read())
    observer.settled(settling.read())
    if stopping:
        observer.stopped()
