from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from edgesr.errors import TrainingError
from edgesr.model.training.batches import CropSource
from edgesr.model.training.config import OptimizerConfig, TeacherConfig, TrainingConfig
from edgesr.model.training.losses import weighted_loss
from edgesr.model.training.network import plan_network
from edgesr.model.training.optimization import Optimization
from edgesr.model.training.process_group import ProcessGroup, from_environment
from edgesr.model.training.state import new_state

CPU = torch.device("cpu")


def test_a_step_is_adamw_on_the_clipped_gradient(two_stages: TrainingConfig, source: CropSource) -> None:
    config = replace(two_stages, optimizer=OptimizerConfig(max_gradient_norm=1e-3, weight_decay=0.1))
    state, reference = (new_state(plan_network(config), config, CPU) for _ in range(2))
    stage, batch = config.stages[0], source.batch(0, range(2), 6)
    measured = Optimization(state, config, CPU, ProcessGroup()).step(batch, stage, 0.01)
    lr, hr = batch.lr.float() / 255, batch.hr.float() / 255
    loss = weighted_loss(stage.losses, reference.module(lr), hr)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is incomplete
    norm = torch.sqrt(sum(((p.grad**2).sum() for p in reference.module.parameters() if p.grad is not None), CPU_ZERO))
    optimizer = torch.optim.AdamW(reference.module.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    for parameter in reference.module.parameters():
        assert parameter.grad is not None
        parameter.grad *= 1e-3 / (norm + 1e-6)
    optimizer.step()
    assert measured[0].item() == pytest.approx(loss.item(), rel=1e-6) and measured[2].item() == pytest.approx(
        norm.item()
    )
    for ours, theirs in zip(state.module.parameters(), reference.module.parameters(), strict=True):
        # Adam's first step is the rate times the gradient's sign: rounding matters only where a gradient is nothing
        assert torch.allclose(ours, theirs, atol=1e-5)


CPU_ZERO = torch.zeros(())


@pytest.mark.parametrize(("hr_weight", "teacher_weight"), [(0.1, 0.9), (0.9, 0.1)])
def test_the_loss_is_shared_between_photograph_and_teacher(
    two_stages: TrainingConfig, source: CropSource, hr_weight: float, teacher_weight: float
) -> None:
    class Teacher(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    config = replace(two_stages, teacher=TeacherConfig(Path("unread"), hr_weight, teacher_weight))
    state = new_state(plan_network(config), config, CPU)
    stage, batch = config.stages[0], source.batch(0, range(2), 6)
    lr, hr = batch.lr.float() / 255, batch.hr.float() / 255
    with torch.no_grad():
        output = state.module(lr)
        shown = Teacher()(lr)
    wanted = hr_weight * (output - hr).abs().mean() + teacher_weight * (output - shown).abs().mean()
    measured = Optimization(state, config, CPU, ProcessGroup(), Teacher()).step(batch, stage, 0.01)
    assert measured[0].item() == pytest.approx(wanted.item(), rel=1e-6)
    assert measured[1].item() == pytest.approx((output - hr).square().mean().item(), rel=1e-5)


def test_processes_share_a_batch_or_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [list(ProcessGroup(rank, 3).share(6)) for rank in range(3)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(TrainingError, match="a batch of 4 cannot be shared by 3 processes; give a multiple of 3"):
        ProcessGroup(0, 3).share(4)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert from_environment() == ProcessGroup()
    monkeypatch.setenv("RANK", "1")
    assert from_environment() == ProcessGroup(1, 2, 0) and not from_environment().leads
    monkeypatch.setenv("RANK", "one")
    with pytest.raises(TrainingError, match="start the processes by torchrun"):
        from_environment()
