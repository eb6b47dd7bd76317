import itertools
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from edgesr.model.training import loop
from edgesr.model.training.batches import CropSource
from edgesr.model.training.config import TrainingConfig
from edgesr.model.training.interruption import StopRequest, stop_on_signals
from edgesr.model.training.loop import DivergedStepError, Settling, StepFigures, StepTaken, run_stages
from edgesr.model.training.network import plan_network
from edgesr.model.training.optimization import Optimization
from edgesr.model.training.process_group import ProcessGroup
from edgesr.model.training.state import TrainingState, new_state

CPU = torch.device("cpu")


class Stopped(Exception):  # noqa: N818  # no error
    pass


class Watcher:
    """Keeps all figures; asks for them at every step, or never."""

    def __init__(self, always: bool = True) -> None:
        self.always = always
        self.figures: list[StepFigures] = []
        self.sizes: list[int] = []

    def due(self) -> bool:
        return self.always

    def settled(self, figures: tuple[StepFigures, ...]) -> None:
        self.figures += figures
        self.sizes.append(len(figures))

    def stopped(self) -> None:
        raise Stopped


def prepared(config: TrainingConfig) -> tuple[TrainingState, Optimization]:
    state = new_state(plan_network(config), config, CPU)
    return state, Optimization(state, config, CPU, ProcessGroup())


def test_every_stage_is_run_with_its_own_crops_and_rates(two_stages: TrainingConfig, source: CropSource) -> None:
    state, optimization = prepared(two_stages)
    watcher = Watcher()
    run_stages(optimization, source, watcher, StopRequest())
    assert [f.taken.step for f in watcher.figures] == [1, 2, 3, 4, 5, 6]
    assert [f.taken.batch.lr.shape[-1] for f in watcher.figures] == [6] * 4 + [5] * 2
    rates = [f.taken.learning_rate for f in watcher.figures]
    assert rates[1] > rates[2] > rates[3] and rates[4] == pytest.approx(1e-4)
    assert [f.loss for f in watcher.figures[4:]] == [f.mse for f in watcher.figures[4:]]
    assert state.position.step == 6 and state.position.stage == 2


def test_figures_that_nobody_asks_for_are_read_at_the_end_of_a_stage(
    two_stages: TrainingConfig, source: CropSource
) -> None:
    watcher = Watcher(always=False)
    run_stages(prepared(two_stages)[1], source, watcher, StopRequest())
    assert watcher.sizes == [4, 2]


def test_a_stage_bound_by_time_ends_in_time(
    two_stages: TrainingConfig, source: CropSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock on which each look takes a sixteenth of a second."""
    clock = itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(clock) / 16))
    stage = replace(two_stages.stages[0], steps=10**9, minutes=0.5 / 60)
    state, optimization = prepared(replace(two_stages, stages=(stage,)))
    run_stages(optimization, source, Watcher(), StopRequest())
    assert (state.position.step, state.position.elapsed_s) == (8, 0.5)


def test_a_signal_stops_between_two_steps(two_stages: TrainingConfig, source: CropSource) -> None:
    state, optimization = prepared(two_stages)
    watcher = Watcher()
    with stop_on_signals() as stop, pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
        run_stages(optimization, source, watcher, stop)
    assert state.position.step == 0 and stop.made
    with stop_on_signals() as stop, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_first_step_that_is_not_finite_is_named(source: CropSource) -> None:
    settling, batch = Settling(), source.batch(0, range(1), 2)
    for step, loss in enumerate((0.5, float("nan"), float("nan")), start=7):
        settling.add(StepTaken(step, batch, 1e-3), torch.tensor([loss, 0.1, 0.2]))
    with pytest.raises(DivergedStepError) as caught:
        settling.read()
    assert caught.value.step == 8
    assert Settling().read() == ()


def test_a_gradient_that_is_not_finite_counts_too(source: CropSource) -> None:
    settling = Settling()
    settling.add(StepTaken(1, source.batch(0, range(1), 2), 1e-3), torch.tensor([0.5, 0.1, float("inf")]))
    with pytest.raises(DivergedStepError):
        settling.read()
