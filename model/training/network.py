"""The networks of a run: the one in training, built for its architecture and scale, and the teacher's."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from edgesr.architecture import Architecture, SRModel
from edgesr.errors import EdgeSRError, TrainingError, first_line
from edgesr.model.registry import ARCHITECTURES, load_model
from edgesr.model.training.config import TeacherConfig, TrainingConfig

RGB = 3


@dataclass(frozen=True)
class NetworkPlan:
    """An architecture with all its hyperparameters."""

    architecture: Architecture
    hyperparameters: Mapping[str, int]

    def build(self, seed: int) -> nn.Module:
        """The untrained network, whose weights depend on the seed alone."""
        torch.manual_seed(seed)
        return self.architecture.build(self.hyperparameters)


def plan_network(config: TrainingConfig) -> NetworkPlan:
    """The network of a run; raises `TrainingError` for one that the architecture does not have, or crops do not fit."""
    architecture = _find(config.architecture)
    unknown = [name for name in config.network if name not in architecture.defaults or name == "scale"]
    if unknown:
        known = ", ".join(name for name in architecture.defaults if name != "scale")
        raise TrainingError(f"network: {architecture.name} has no '{unknown[0]}'; it has {known}")
    hyperparameters = {**architecture.defaults, **config.network, "scale": config.scale}
    _require_built(architecture, hyperparameters)
    if hyperparameters.get("in_channels", RGB) != RGB:
        raise TrainingError(
            f"network: in_channels {hyperparameters['in_channels']}; photographs are trained on as RGB: 3"
        )
    require_multiple(config, architecture.name, architecture.size_multiple)
    return NetworkPlan(architecture, hyperparameters)


def load_teacher(teacher: TeacherConfig, config: TrainingConfig) -> SRModel:
    """The checkpoint's network; raises `TrainingError` for one of another scale, `CheckpointError` for none."""
    model = load_model(weights=teacher.weights)
    if model.scale != config.scale or model.in_channels != RGB:
        raise TrainingError(
            f"teacher {teacher.weights} is x{model.scale}, the run x{config.scale}; give one of that scale"
        )
    require_multiple(config, f"the teacher {model.name}", model.size_multiple)
    return model


def require_multiple(config: TrainingConfig, name: str, multiple: int) -> None:
    """Raise TrainingError where a crop has a side that the network does not take."""
    for index, stage in enumerate(config.stages):
        if stage.crop % multiple:
            raise TrainingError(f"stages[{index}].crop is {stage.crop}; {name} takes multiples of {multiple}")


def _find(name: str) -> Architecture:
    names = {architecture.name: architecture for architecture in ARCHITECTURES}
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(names)}"
        raise TrainingError(f"architecture: none is called '{name}'; {hint}")
    return names[name]


def _require_built(architecture: Architecture, hyperparameters: Mapping[str, int]) -> None:
    """Raise TrainingError unless the architecture builds that network and reads the same back from its shapes."""
    try:
        with torch.device("meta"):
            state = architecture.build(hyperparameters).state_dict()
        read_back = architecture.deduce(state)
    except (ValueError, RuntimeError, EdgeSRError) as error:
        raise TrainingError(
            f"network: {architecture.name} cannot be built ({first_line(error)}); change [network]"
        ) from error
    wrong = [name for name, value in hyperparameters.items() if read_back.get(name) != value]
    if wrong:
        name = wrong[0]
        raise TrainingError(
            f"{architecture.name} has no {name} {hyperparameters[name]}: its weights would be read as {name} "
            f"{read_back.get(name)}; choose another {name}"
        )
