"""Gradient steps on a student: Adam with a cosine schedule, an exponential mean of the parameters as the result.

The loss is (1 - w) MSE(output, float network) + w MSE(output, truth). Each batch is cut into two halves whose gradients
are summed in order, one thread each: the same numbers on any number of cores.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from edgesr.progress import Progress
from edgesr.quant.learning.patches import Patches
from edgesr.quant.learning.plan import FitPlan, Kind
from edgesr.quant.learning.saved import SavedFit, digest_of
from edgesr.quant.learning.student import Parameters, Student

SHARDS = 2
WARM_UP = 50
SAVE_EVERY_S = 30.0
BETAS = (0.9, 0.99)


class DivergedError(Exception):
    """The loss is no number any more; the message says at which step."""


def fit(
    student: Student, start: Parameters, patches: Patches, plan: FitPlan, progress: Progress, folder: Path | None = None
) -> Parameters:
    """The parameters after the plan's steps; raises `DivergedError` where the loss becomes no number.

    With a `folder`, the state is saved there every half minute and on an interrupt, and learning goes on from a state
    that the same student, patches and plan left behind.
    """
    state = _Fit(student, start, patches, plan)
    saved = None if folder is None else SavedFit(folder, digest_of(student, start, patches, plan))
    if saved is not None:
        state.restore(saved)
    try:
        state.run(progress, saved)
    except KeyboardInterrupt:
        if state.whole:
            state.save(saved)
        if state.saved_step is None:
            raise
        where = f"step {state.saved_step} of {plan.steps}"
        raise KeyboardInterrupt(f"interrupted while {plan.name}; the same command goes on from {where}") from None
    state.save(saved)
    return state.result()


class _Fit:
    """Parameters, their mean, Adam's moments, and the step."""

    def __init__(self, student: Student, start: Parameters, patches: Patches, plan: FitPlan) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.student, self.patches, self.plan = student.on(self.device), patches, plan
        self.leaves: Parameters = {
            kind: [p.detach().clone().to(self.device).requires_grad_(kind in plan.rates) for p in values]
            for kind, values in start.items()
        }
        self.moving = [p for values in self.leaves.values() for p in values if p.requires_grad]
        groups = [{"params": self.leaves[kind], "lr": rate} for kind, rate in plan.rates.items() if self.leaves[kind]]
        self.optimizer = torch.optim.Adam(groups, betas=BETAS)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.mean = [p.detach().clone() for p in self.moving]
        self.batches = patches.batches(plan.batch, torch.Generator().manual_seed(plan.seed))
        self.step = 0
        self.saved_step: int | None = None
        self.whole = True

    def run(self, progress: Progress, saved: SavedFit | None) -> None:
        """All steps that are left."""
        saved_at = time.monotonic()
        with ThreadPoolExecutor(SHARDS) as pool:
            while self.step < self.plan.steps:
                progress(self.plan.name, self.step, self.plan.steps)
                self._one_step(pool)
                if time.monotonic() - saved_at > SAVE_EVERY_S:
                    self.save(saved)
                    saved_at = time.monotonic()
        progress(self.plan.name, self.plan.steps, self.plan.steps)

    def _one_step(self, pool: ThreadPoolExecutor) -> None:
        factor = min(1.0, (self.step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * self.step / self.plan.steps))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        shards = list(pool.map(self._gradients, next(self.batches).chunk(SHARDS)))
        for i, p in enumerate(self.moving):
            p.grad = torch.stack([gradients[i] for _, gradients in shards]).sum(0)
        # the loss too: the clip of the output gives no gradient to what is no number
        if not _finite([loss for loss, _ in shards] + [p.grad for p in self.moving if p.grad is not None]):
            raise DivergedError(f"{self.plan.name} diverged at step {self.step} of {self.plan.steps}")
        self.whole = False  # until the step is done, an interrupt must not save
        self.optimizer.step()
        decay = min(self.plan.mean_decay, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self.mean, self.moving, 1 - decay)
        self.step += 1
        self.whole = True

    def _gradients(self, chosen: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Some patches' share of the loss, and its gradients."""
        x = self._on_device(self.patches.inputs[chosen]).contiguous(memory_format=torch.channels_last) / 255
        output = self.student.execute(x, self.leaves)
        share = self.plan.label_share
        loss = (output - self._on_device(self.patches.targets[chosen])).square().mean() * (1 - share)
        if share:
            loss = loss + share * (output - self._on_device(self.patches.labels[chosen]) / 255).square().mean()
        loss = loss * (len(chosen) / self.plan.batch)
        return loss.detach(), torch.autograd.grad(loss, self.moving, materialize_grads=True)

    def _on_device(self, x: Tensor) -> Tensor:
        return x.to(self.device, torch.float32)

    def result(self) -> Parameters:
        """The mean of what moved, and what stood still; raises `DivergedError` where it holds no usable numbers."""
        means = iter(self.mean)
        found = {
            kind: [(next(means) if p.requires_grad else p.detach()).cpu() for p in values]
            for kind, values in self.leaves.items()
        }
        steps = [step.exp() for step in found[Kind.STEPS]]
        if not _finite([p for values in found.values() for p in values] + steps) or not all(steps):
            raise DivergedError(f"{self.plan.name} diverged at its last step, {self.step}")
        return found

    def save(self, saved: SavedFit | None) -> None:
        """Write everything that the next step depends on."""
        if saved is None:
            return
        tensors = {"step": torch.tensor(self.step)}
        for i, (p, mean) in enumerate(zip(self.moving, self.mean, strict=True)):
            tensors |= {f"{i}.value": p.detach(), f"{i}.mean": mean}
            moments = self.optimizer.state.get(p, {})
            tensors |= {f"{i}.{key}": moments[key] for key in ("exp_avg", "exp_avg_sq") if key in moments}
        saved.write(tensors)
        self.saved_step = self.step

    def restore(self, saved: SavedFit) -> None:
        """Go back to a saved state, where there is a whole one."""
        tensors = saved.read()
        if tensors is None:
            return
        self.step = self.saved_step = int(tensors["step"])
        with torch.no_grad():
            for i, (p, mean) in enumerate(zip(self.moving, self.mean, strict=True)):
                p.copy_(tensors[f"{i}.value"])
                mean.copy_(tensors[f"{i}.mean"])
                if f"{i}.exp_avg" in tensors:
                    moments = {key: tensors[f"{i}.{key}"].to(self.device) for key in ("exp_avg", "exp_avg_sq")}
                    self.optimizer.state[p] = moments | {"step": torch.tensor(float(self.step))}
        for _ in range(self.step):
            next(self.batches)


def _finite(values: Sequence[Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in values)
