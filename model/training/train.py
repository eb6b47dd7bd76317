"""The training loop: AdamW, cosine decay, L1 then mean squared error, and an exponential moving average of the weights.

Everything random derives from `TrainConfig.seed` and the step number, so a resumed run sees the crops that an
uninterrupted one would have seen. L1 finds the solution fast; the final stretch on mean squared error optimises PSNR
itself (the challenge's own recipe has the same two stages).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.atomic import write_atomically
from edgesr.errors import CheckpointError, EdgeSRError
from edgesr.model.training.dataset import Pair, sample_batch

WARMUP_STEPS = 100
MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """What a training run does; `crop` is the side of an LR crop in pixels.

    `max_minutes` bounds the run in wall-clock time: the schedule then follows whichever of steps and time is further
    on, so that the learning rate always reaches its end. A time-bound run depends on the machine's speed and does not
    repeat bit for bit; one bound by steps alone does on the same machine.
    """

    steps: int
    batch: int = 16
    crop: int = 40
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    weight_decay: float = 0.0
    ema_decay: float = 0.999
    mse_fraction: float = 0.2
    seed: int = 0
    max_minutes: float = math.inf
    report_every: int = 100
    save_every: int = 500

    def __post_init__(self) -> None:
        """Refuse runs that could not take a step."""
        if min(self.steps, self.batch, self.crop, self.report_every, self.save_every) < 1:
            raise ValueError("steps, batch, crop, report_every and save_every must be at least 1")
        if not (0 <= self.mse_fraction <= 1 and 0 <= self.ema_decay < 1 and self.max_minutes > 0):
            raise ValueError("mse_fraction is in [0, 1], ema_decay in [0, 1), max_minutes above 0")


@dataclass
class TrainState:
    """What a run needs to go on: the module in training, its average, the optimizer, and how far it came."""

    module: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0

    def save(self, path: Path) -> None:
        """Write the state atomically."""
        content = {
            "module": self.module.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
        }
        with write_atomically(path) as temporary:
            torch.save(content, temporary)

    def load(self, path: Path) -> None:
        """Go on from a state that `save` wrote; raise CheckpointError where it is not one, or of another network."""
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            self.module.load_state_dict(content["module"])
            self.average.load_state_dict(content["average"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.step, self.elapsed_s = int(content["step"]), float(content["elapsed_s"])
        except Exception as error:  # torch.load documents no closed list of what it raises
            reason = str(error).partition("\n")[0]
            raise CheckpointError(f"{path}: cannot resume from it ({reason}); start again without --resume") from error


def start(build: Callable[[], nn.Module], config: TrainConfig) -> TrainState:
    """Make the state of step 0, with weights that depend on the seed alone."""
    torch.manual_seed(config.seed)
    # channels_last is oneDNN's own layout: a step takes four fifths of the time that it takes without.
    module = build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    average = copy.deepcopy(module).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )
    return TrainState(module, average, optimizer)


def train(
    state: TrainState,
    pairs: tuple[Pair, ...],
    scale: int,
    config: TrainConfig,
    save: Callable[[TrainState], None],
    report: Callable[[str], None] = print,
) -> None:
    """Take `state` to the end of the schedule, calling `save` every `save_every` steps and at the end."""
    began = time.monotonic() - state.elapsed_s
    running_loss = running_mse = math.nan
    while (progress := _progress(state, config)) < 1.0:
        if state.step and state.step % config.save_every == 0:
            save(state)
        loss, mse = _take_step(state, pairs, scale, config, progress)
        running_loss, running_mse = _smoothed(running_loss, loss), _smoothed(running_mse, mse)
        state.step += 1
        state.elapsed_s = time.monotonic() - began
        if state.step % config.report_every == 0:
            report(_report_line(state, config, running_loss, running_mse))
    save(state)


def learning_rate(progress: float, step: int, config: TrainConfig) -> float:
    """Cosine decay over `progress` in [0, 1], after a linear warm-up of WARMUP_STEPS steps."""
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    decayed = config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * cosine
    return decayed * min(1.0, (step + 1) / WARMUP_STEPS)


def _progress(state: TrainState, config: TrainConfig) -> float:
    """How far the run is, from 0 to 1, in steps or in time, whichever is further."""
    return max(state.step / config.steps, state.elapsed_s / (60 * config.max_minutes))


def _take_step(
    state: TrainState, pairs: tuple[Pair, ...], scale: int, config: TrainConfig, progress: float
) -> tuple[float, float]:
    """Take one optimizer step and return the loss and the mean squared error of its batch."""
    generator = np.random.default_rng((config.seed, state.step))
    lr, hr = sample_batch(pairs, generator, config.batch, config.crop, scale)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(progress, state.step, config)
    output: Tensor = state.module(lr)
    mse = F.mse_loss(output, hr)
    loss = mse if progress >= 1 - config.mse_fraction else F.l1_loss(output, hr)
    if not torch.isfinite(loss):
        raise EdgeSRError(f"training diverged at step {state.step}; lower the learning rate and start again")
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is incomplete
    # The gates multiply, so a rare crop can give a gradient far above the usual 0.1 to 0.5: it must not wreck the run.
    nn.utils.clip_grad_norm_(state.module.parameters(), MAX_GRADIENT_NORM)
    state.optimizer.step()
    _update_average(state, config)
    return loss.item(), mse.item()


def _update_average(state: TrainState, config: TrainConfig) -> None:
    """Move the average towards the module; the early average forgets faster, so that it leaves the start behind."""
    decay = min(config.ema_decay, (state.step + 1) / (state.step + 10))
    with torch.no_grad():
        for average, current in zip(state.average.parameters(), state.module.parameters(), strict=True):
            average.lerp_(current, 1 - decay)


def _smoothed(running: float, value: float) -> float:
    """Exponential smoothing that starts at the first value."""
    return value if math.isnan(running) else 0.98 * running + 0.02 * value


def _report_line(state: TrainState, config: TrainConfig, loss: float, mse: float) -> str:
    """One line: step, learning rate, loss, PSNR on the training crops in dB, and the minutes to go."""
    progress = _progress(state, config)
    eta_minutes = state.elapsed_s / 60 * (1 - progress) / progress
    rate = state.optimizer.param_groups[0]["lr"]
    return (
        f"step {state.step} lr {rate:.2e} loss {loss:.5f} train PSNR {-10 * math.log10(mse):.2f} dB "
        f"elapsed {state.elapsed_s / 60:.1f} min ETA {eta_minutes:.1f} min"
    )
