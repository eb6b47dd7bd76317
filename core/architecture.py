"""What a trained network is to the rest of the toolchain: a module with a contract, and the family it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Architecture:
    """A family of networks that share code and checkpoint keys.

    `deduce` reads hyperparameters from a state dict's shapes and raises `CheckpointError`, naming every missing,
    unexpected or misshapen key, when the state dict is not of this family. `build` makes the module for them.
    `signature_keys` are key names that only this family has; they are enough to recognise it. `defaults` is the config
    of the released network, for training another one.
    """

    name: str
    summary: str
    signature_keys: tuple[str, ...]
    deduce: Callable[[Mapping[str, Tensor]], dict[str, int]]
    build: Callable[[Mapping[str, int]], nn.Module]
    size_multiple: int = 1
    defaults: Mapping[str, int] = field(default_factory=dict)

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        """Whether `state` holds all of the family's signature keys."""
        return all(key in state for key in self.signature_keys)


@dataclass(frozen=True)
class SRModel:
    """A trained network with its contract.

    `module` is in eval mode, float32, on the CPU, and maps (N, C, H, W) to (N, C, scale*H, scale*W), both with values
    in [0, value_range], for H and W multiples of `size_multiple`. `config` rebuilds the module through its
    architecture.
    """

    name: str
    architecture: str
    module: nn.Module
    config: Mapping[str, int]
    scale: int
    source: str
    sha256: str
    value_range: float = 1.0
    size_multiple: int = 1

    @property
    def in_channels(self) -> int:
        """C of the images: RGB where the config does not say."""
        return self.config.get("in_channels", 3)

    def __post_init__(self) -> None:
        """Refuse contracts that no image could meet."""
        if self.scale < 1 or self.size_multiple < 1 or not self.value_range > 0:
            raise ValueError(f"{self.name}: scale, size_multiple and value_range must be positive")
