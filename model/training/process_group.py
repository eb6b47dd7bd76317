"""The processes of one run: alone, or those that torchrun started, which share each batch and average gradients.

Every process holds the whole network and draws its own crops of the common batch; a batch's loss is a mean over crops,
so the mean of the processes' gradients is the gradient of the whole batch, up to the order of sums.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from edgesr.errors import TrainingError


@dataclass(frozen=True)
class ProcessGroup:
    """A process's place among all; `local_rank` is its place on this machine, and so its GPU."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes and reports."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """The indices of a batch that are this process's; raises `TrainingError` where there is no equal share."""
        if batch % self.size:
            raise TrainingError(
                f"a batch of {batch} cannot be shared by {self.size} processes; give a multiple of {self.size}"
            )
        part = batch // self.size
        return range(self.rank * part, (self.rank + 1) * part)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by the mean over all processes."""
        if self.size > 1:
            gradients = [p.grad for p in parameters if p.grad is not None]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            distributed.all_reduce(flat)
            parts = torch.split(flat / self.size, [gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view(gradient.shape))

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        if self.size > 1:
            distributed.all_reduce(value)
            value = value / self.size
        return value

    def largest(self, values: Iterable[float], device: torch.device) -> list[float]:
        """Of each value the largest over all processes: what all of them then act on."""
        found = list(values)
        if self.size > 1:
            tensor = torch.tensor(found, dtype=torch.float64, device=device)
            distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
            found = tensor.tolist()
        return found


@contextmanager
def joined_processes(device: torch.device) -> Iterator[ProcessGroup]:
    """The group that torchrun's environment names, joined by NCCL on GPUs and gloo elsewhere; without one, alone."""
    group = from_environment()
    if group.size == 1:
        yield group
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield group
    finally:
        distributed.destroy_process_group()


def from_environment() -> ProcessGroup:
    """The place of this process, by torchrun's variables; raises `TrainingError` where they are no numbers."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        return ProcessGroup()
    try:
        rank, size, local_rank = (int(os.environ.get(name, "0")) for name in names)
    except ValueError:
        raise TrainingError(f"{', '.join(names)} are no whole numbers; start the processes by torchrun") from None
    return ProcessGroup(rank, size, local_rank)
