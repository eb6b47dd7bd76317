"""What a run needs to go on: networks, optimizer and place, with the settings that it was made by, in one file."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgesr.atomic import write_atomically
from edgesr.errors import CheckpointError, TrainingError, first_line
from edgesr.model.training.config import OptimizerConfig, Precision, TrainingConfig
from edgesr.model.training.config_file import differences
from edgesr.model.training.network import NetworkPlan
from edgesr.model.training.schedule import Position


@dataclass(eq=False)
class TrainingState:
    """The module in training, the exponential mean of its weights, the optimizer, the scaler of fp16, and the place."""

    module: nn.Module
    mean: nn.Module
    optimizer: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    position: Position

    def update_mean(self, decay: float) -> None:
        """Move the mean towards the module; early on it forgets faster, so that it leaves the start behind."""
        decay = min(decay, (self.position.step + 1) / (self.position.step + 10))
        with torch.no_grad():
            for mean, current in zip(self.mean.parameters(), self.module.parameters(), strict=True):
                mean.lerp_(current, 1 - decay)

    def save(self, path: Path, settings: Mapping[str, str]) -> None:
        """Write everything, whole or not at all; raises `ExportError` on a full disk, and the old file stays."""
        content = io.BytesIO()
        torch.save({"settings": dict(settings), "position": asdict(self.position), **self._parts()}, content)
        with write_atomically(path) as temporary:
            temporary.write_bytes(content.getbuffer())

    def load(self, path: Path, settings: Mapping[str, str]) -> None:
        """Go on from a state that `save` wrote.

        Raises:
            CheckpointError: the file is missing, or is no such state.
            TrainingError: it was made by other settings; the message lists them.

        """
        content = _read(path)
        changed = differences(content["settings"], settings)
        if changed:
            raise TrainingError(
                f"{path} is of a run with other settings ({'; '.join(changed)}); go on with those, or start another "
                "run with another --output"
            )
        try:
            self.module.load_state_dict(content["module"])
            self.mean.load_state_dict(content["mean"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.scaler.load_state_dict(content["scaler"])
            self.position = Position(**content["position"])
        except Exception as error:  # a damaged state fails wherever its first wrong value is used
            raise CheckpointError(_unusable(path, error)) from error

    def _parts(self) -> dict[str, object]:
        parts: dict[str, Any] = {
            "module": self.module,
            "mean": self.mean,
            "optimizer": self.optimizer,
            "scaler": self.scaler,
        }
        return {name: part.state_dict() for name, part in parts.items()}


def new_state(plan: NetworkPlan, config: TrainingConfig, device: torch.device) -> TrainingState:
    """The state before the first step; its weights depend on the seed alone."""
    module = plan.build(config.seed).to(device)
    if config.run.channels_last:
        # oneDNN's and cuDNN's own layout: on a CPU a step takes four fifths of the time that it takes without
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    mean = copy.deepcopy(module).requires_grad_(False)
    scaled = config.precision is Precision.FP16 and device.type == "cuda"
    scaler = torch.amp.GradScaler(device.type, enabled=scaled)
    return TrainingState(module, mean, _optimizer(module, config.optimizer), scaler, Position())


def _optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(module.parameters(), lr=0.0, betas=betas, weight_decay=config.weight_decay)


def _read(path: Path) -> dict[str, Any]:
    """The content of a state file, which holds settings at least."""
    if not path.exists():
        raise CheckpointError(f"{path}: nothing to go on from; start without --resume, or check --output")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        settings = content["settings"]
        if not isinstance(settings, dict):
            raise TypeError("no settings in it")
    except Exception as error:  # torch.load documents no closed list of what it raises
        raise CheckpointError(_unusable(path, error)) from error
    return dict(content)


def _unusable(path: Path, error: Exception) -> str:
    return f"{path}: cannot go on from it ({first_line(error)}); start again with another --output"
