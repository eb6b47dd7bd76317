"""What only a GPU does: half precision, a scaler, torch.compile, and going on from its state."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgesr.model.training.batches import CropSource
from edgesr.model.training.config import Precision, TrainingConfig
from edgesr.model.training.interruption import StopRequest
from edgesr.model.training.loop import StepFigures, run_stages
from edgesr.model.training.network import plan_network
from edgesr.model.training.optimization import Optimization
from edgesr.model.training.process_group import ProcessGroup
from edgesr.model.training.state import TrainingState, new_state

pytestmark = pytest.mark.gpu


class Watcher:
    def __init__(self) -> None:
        self.losses: list[float] = []

    def due(self) -> bool:
        return False

    def settled(self, figures: tuple[StepFigures, ...]) -> None:
        self.losses += [entry.loss for entry in figures]

    def stopped(self) -> None:
        raise AssertionError


def trained(config: TrainingConfig, source: CropSource) -> tuple[TrainingState, list[float]]:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    device, watcher = torch.device("cuda", 0), Watcher()
    state = new_state(plan_network(config), config, device)
    run_stages(Optimization(state, config, device, ProcessGroup()), source, watcher, StopRequest())
    return state, watcher.losses


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("precision", Precision)
def test_losses_are_those_of_float32_up_to_rounding(
    two_stages: TrainingConfig, source: CropSource, precision: Precision, compiled: bool
) -> None:
    """bf16 has 8 bits of mantissa: an output near 1 is off by 2^-9 at most, and a loss, a mean, by no more."""
    plain = trained(two_stages, source)[1]
    config = replace(two_stages, precision=precision, run=replace(two_stages.run, compile=compiled))
    losses = trained(config, source)[1]
    assert losses == pytest.approx(plain, abs=2**-8)


def test_a_state_of_a_gpu_goes_on(two_stages: TrainingConfig, source: CropSource, tmp_path: Path) -> None:
    config = replace(two_stages, precision=Precision.FP16)
    state, _ = trained(config, source)
    state.save(tmp_path / "run.state", {})
    other = new_state(plan_network(config), replace(config, seed=4), torch.device("cuda", 0))
    other.load(tmp_path / "run.state", {})
    pairs = zip(state.module.parameters(), other.module.parameters(), strict=True)
    assert all(torch.equal(a, b) and b.is_cuda for a, b in pairs)
    assert other.scaler.get_scale() == state.scaler.get_scale()
