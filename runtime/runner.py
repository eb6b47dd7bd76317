"""What a runner is: something that computes an artifact or a network on an image, behind one method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np


class Runner(Protocol):
    """Runs one network in one runtime."""

    name: str

    def run(self, image: np.ndarray) -> np.ndarray:
        """The float output (N, sH, sW, C) for a float image (N, H, W, C), both in [0, value_range]."""


@runtime_checkable
class Tracer(Protocol):
    """A runner that can also show every tensor on the way."""

    def trace(self, image: np.ndarray) -> Mapping[str, np.ndarray]:
        """Every tensor as the runtime stores it, by the graph's name, (N, H, W, C); integers are signed."""


class TracingRunner(Runner, Tracer, Protocol):
    """A runner whose tensors can be compared one by one."""
