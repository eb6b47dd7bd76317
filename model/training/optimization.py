"""One optimizer step on one batch: forward in the run's precision, loss, gradients of all processes, AdamW, mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.model.training.batches import Batch
from edgesr.model.training.config import Precision, Stage, TeacherConfig, TrainingConfig
from edgesr.model.training.losses import weighted_loss
from edgesr.model.training.process_group import ProcessGroup
from edgesr.model.training.state import TrainingState

Forward = Callable[[Tensor], Tensor]
DTYPES = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


@dataclass(frozen=True, eq=False)
class Teaching:
    """The teacher's forward, and how much it counts."""

    forward: Forward
    config: TeacherConfig


class Optimization:
    """Takes steps of one run; `forward` is the module in training, compiled where that was asked for."""

    def __init__(
        self, state: TrainingState, config: TrainingConfig, device: torch.device, group: ProcessGroup,
        teacher: nn.Module | None = None,
    ) -> None:  # fmt: skip
        self.state = state
        self.config = config
        self.device = device
        self.group = group
        on_gpu = device.type == "cuda"
        self.forward: Forward = torch.compile(state.module) if config.run.compile and on_gpu else state.module
        self.dtype = DTYPES.get(config.precision) if on_gpu else None
        self.teaching = Teaching(teacher, config.teacher) if teacher is not None and config.teacher else None

    def step(self, batch: Batch, stage: Stage, learning_rate: float) -> Tensor:
        """Take a step; loss, mean squared error and norm of the gradient (3,) of the whole batch, on the device."""
        state, parameters = self.state, list(self.state.module.parameters())
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate
        lr, hr = self._load(batch.lr), self._load(batch.hr)
        output = self._run(self.forward, lr)
        loss = self._loss(output, lr, hr, stage)
        state.optimizer.zero_grad()
        state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's own annotation is incomplete
        self.group.average_gradients(parameters)
        state.scaler.unscale_(state.optimizer)
        # Gates multiply, so a rare crop can give a gradient far above the usual: it must not wreck the run.
        norm = nn.utils.clip_grad_norm_(parameters, self.config.optimizer.max_gradient_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.update_mean(self.config.optimizer.mean_decay)
        mse = F.mse_loss(output.detach(), hr)
        # fp16 skips steps whose gradients overflow, and scales the next ones less: no reason to stop
        norm = torch.zeros_like(norm) if state.scaler.is_enabled() else norm
        return torch.cat([self.group.mean(torch.stack([loss.detach(), mse])), norm.detach()[None]])

    def _load(self, images: Tensor) -> Tensor:
        """uint8 as float32 in [0, 1] on the device."""
        moved = images.to(self.device, non_blocking=True).float() / 255
        return moved.contiguous(memory_format=torch.channels_last) if self.config.run.channels_last else moved

    def _run(self, forward: Forward, lr: Tensor) -> Tensor:
        """A network's output in float32; half-precision spectra and sums would be too coarse to learn from."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            return forward(lr).float()

    def _loss(self, output: Tensor, lr: Tensor, hr: Tensor, stage: Stage) -> Tensor:
        if self.teaching is None:
            return weighted_loss(stage.losses, output, hr)
        with torch.no_grad():
            shown = self._run(self.teaching.forward, lr)
        shares = self.teaching.config
        from_hr = weighted_loss(stage.losses, output, hr)
        return shares.hr_weight * from_hr + shares.teacher_weight * weighted_loss(stage.losses, output, shown)
