from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgesr.errors import CheckpointError, TrainingError
from edgesr.model.training.config import TrainingConfig
from edgesr.model.training.network import plan_network
from edgesr.model.training.schedule import Position
from edgesr.model.training.state import TrainingState, new_state

CPU = torch.device("cpu")
SETTINGS = {"seed": "0", "stages[0].batch": "2"}


@pytest.fixture
def state(two_stages: TrainingConfig) -> TrainingState:
    """A state that took a step on a made-up gradient."""
    state = new_state(plan_network(two_stages), two_stages, CPU)
    for parameter in state.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.param_groups[0]["lr"] = 0.01
    state.optimizer.step()
    state.position = Position(3, 1, 2, 4.5, 1.5)
    state.update_mean(0.999)
    return state


def test_everything_comes_back(two_stages: TrainingConfig, state: TrainingState, tmp_path: Path) -> None:
    state.save(tmp_path / "run.state", SETTINGS)
    other = new_state(plan_network(two_stages), replace(two_stages, seed=5), CPU)
    other.load(tmp_path / "run.state", SETTINGS)
    assert other.position == state.position
    for ours, theirs in ((state.module, other.module), (state.mean, other.mean)):
        pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    moments = [s["exp_avg_sq"] for s in other.optimizer.state_dict()["state"].values()]
    assert moments and all(bool((moment > 0).all()) for moment in moments)


def test_the_mean_forgets_the_start_fast_and_later_slowly(state: TrainingState) -> None:
    mean, current = next(state.mean.parameters()), next(state.module.parameters())
    for step, decay in ((0, 0.1), (10**6, 0.9)):
        state.position = Position(step)
        before = mean.clone()
        state.update_mean(0.9)
        assert torch.allclose(mean, decay * before + (1 - decay) * current.detach(), atol=1e-7)


def test_other_settings_are_refused_and_listed(state: TrainingState, tmp_path: Path) -> None:
    state.save(tmp_path / "run.state", SETTINGS)
    with pytest.raises(TrainingError, match=r"other settings \(stages\[0\].batch: 2 -> 8; scale: none -> 4\)"):
        state.load(tmp_path / "run.state", {"seed": "0", "stages[0].batch": "8", "scale": "4"})


@pytest.mark.parametrize("content", [b"", b"noise", None])
def test_what_is_no_state_is_refused(state: TrainingState, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "run.state"
    if content is not None:
        path.write_bytes(content)
    words = "nothing to go on from" if content is None else "cannot go on from it"
    with pytest.raises(CheckpointError, match=words) as caught:
        state.load(path, SETTINGS)
    assert "\n" not in str(caught.value)


def test_a_state_of_another_network_is_refused(
    two_stages: TrainingConfig, state: TrainingState, tmp_path: Path
) -> None:
    state.save(tmp_path / "run.state", SETTINGS)
    wider = replace(two_stages, network={"channels": 8, "blocks": 2})
    with pytest.raises(CheckpointError, match="cannot go on from it"):
        new_state(plan_network(wider), wider, CPU).load(tmp_path / "run.state", SETTINGS)
