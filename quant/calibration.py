"""What the user's images put into each tensor: sampled values and extremes, channel by channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgesr.errors import CalibrationError
from edgesr.graph import Graph
from edgesr.ops import Constant
from edgesr.progress import Progress, silent

POSITIONS_PER_TENSOR = 120_000
"""Positions kept of each tensor, over all images: with 32 channels, 115 values beyond a tail of 3e-5."""
SEED = 0
"""Of the generator that draws them."""


@dataclass(frozen=True, eq=False)
class TensorStatistics:
    """Sampled values (C, K) of one tensor, and the extremes (C,) over every position of every image."""

    samples: Tensor
    lowest: Tensor
    highest: Tensor

    def scaled(self, factors: Tensor) -> TensorStatistics:
        """The statistics of the tensor with its channels multiplied by positive `factors` (C,)."""
        return TensorStatistics(self.samples * factors[:, None], self.lowest * factors, self.highest * factors)


Calibration = Mapping[str, TensorStatistics]
"""Statistics for every tensor of a graph, by name."""


def calibrate(graph: Graph, images: Sequence[np.ndarray], progress: Progress = silent, seed: int = SEED) -> Calibration:
    """Run uint8 RGB images (H, W, 3), values / 255, through the graph and collect statistics.

    Positions are drawn evenly over the images by a seeded generator: the same images give the same statistics.
    Raises `CalibrationError` where there is no image, one is not of the graph's channels, or a tensor is not finite.
    """
    if not images:
        raise CalibrationError("no calibration images; give a folder of natural images with --calib")
    for image in images:
        if image.shape[2] != graph.input.channels:
            found, wanted = image.shape[2], graph.input.channels
            why = f"calibration images have {found} channels, the network takes {wanted}"
            raise CalibrationError(f"{why}; INT8 is for networks on RGB or grey images, export a float target")
    collector = _Collector(max(1, POSITIONS_PER_TENSOR // len(images)), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for done, image in enumerate(images):
            progress("calibrating", done, len(images))
            graph.execute(to_tensor(image), collector.observe)
    progress("calibrating", len(images), len(images))
    constants = {op.name: op.value.float() for op in graph if isinstance(op, Constant)}
    fixed = {name: TensorStatistics(value[:, None], value, value) for name, value in constants.items()}
    return collector.statistics() | fixed


def to_tensor(image: np.ndarray) -> Tensor:
    """An image (H, W, C) uint8 as (1, C, H, W) float32 in [0, 1]."""
    return torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None].contiguous()


class _Collector:
    """Gathers samples and extremes as a graph executes."""

    def __init__(self, positions: int, generator: torch.Generator) -> None:
        self.positions = positions
        self.generator = generator
        self.samples: dict[str, list[Tensor]] = {}
        self.lowest: dict[str, Tensor] = {}
        self.highest: dict[str, Tensor] = {}

    def observe(self, name: str, x: Tensor) -> Tensor:
        """Keep a sample of `x` (1, C, H, W) and widen its extremes."""
        values = x[0].flatten(1)
        low, high = values.amin(1), values.amax(1)
        if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
            raise CalibrationError(f"'{name}' is not finite on a calibration image; check the checkpoint and --calib")
        self.lowest[name] = torch.minimum(self.lowest.get(name, low), low)
        self.highest[name] = torch.maximum(self.highest.get(name, high), high)
        chosen = torch.randint(values.shape[1], (min(self.positions, values.shape[1]),), generator=self.generator)
        self.samples.setdefault(name, []).append(values[:, chosen])
        return x

    def statistics(self) -> dict[str, TensorStatistics]:
        """All that was gathered."""
        return {
            name: TensorStatistics(torch.cat(parts, 1), self.lowest[name], self.highest[name])
            for name, parts in self.samples.items()
        }
