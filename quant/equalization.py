"""Cross-layer equalization: channel scales (see channel_scales) chosen so that per-tensor INT8 loses least.

Scales are s = r^alpha with r the channel's range relative to the geometric mean: alpha 1 gives every channel of a
tensor the same range and moves all spread into the weights that read it, 1/2 shares it. Tensors tied by an addition
share the mean of their log ranges. What a concat joins must share one step, so its inputs are brought to one reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from edgesr.graph import Graph
from edgesr.ops import Concat
from edgesr.quant.calibration import Calibration
from edgesr.quant.channel_scales import LogScales, ScaleStructure, apply_scales

RANGE_QUANTILE = 0.9999
MAX_LOG_SCALE = 4.0
"""Channels are moved by at most e^4, those of gates by e^8: a dead channel must not get an unbounded scale."""


def equalize(graph: Graph, calibration: Calibration, alpha: float = 0.5) -> tuple[Graph, Calibration]:
    """The graph with equalized channels, exact in real arithmetic, and the statistics of its tensors."""
    scales = choose_scales(graph, calibration, alpha)
    return apply_scales(graph, scales), scaled_statistics(calibration, scales)


def scaled_statistics(calibration: Calibration, scales: LogScales) -> Calibration:
    """The statistics of tensors t / exp(scales[t])."""
    return {name: stats.scaled(torch.exp(-scales[name]).float()) for name, stats in calibration.items()}


def choose_scales(graph: Graph, calibration: Calibration, alpha: float) -> LogScales:
    """Log scales for every tensor from its channels' ranges."""
    structure = ScaleStructure.of(graph)
    reaches = {name: _reach(calibration[name].samples) for name in graph.specs}
    log_ranges = {name: _log_range(reach) for name, reach in reaches.items()}
    wanted = [torch.stack([log_ranges[name] for name in group]).mean(0) * alpha for group in structure.groups]
    chosen = [values.clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE) for values in wanted]
    return structure.expand(_joined_alike(structure, reaches, chosen))


def _joined_alike(structure: ScaleStructure, reaches: Mapping[str, Tensor], chosen: Sequence[Tensor]) -> list[Tensor]:
    """The groups' log scales, those of the inputs of each concat shifted until their largest channels reach as far."""
    shifted, group_of = list(chosen), {name: i for i, group in enumerate(structure.groups) for name in group}
    for op in structure.graph:
        inputs = [x for x in op.inputs if isinstance(op, Concat) and x in group_of and bool((reaches[x] > 0).any())]
        peaks = {x: (reaches[x].clamp_min(1e-30).log() - shifted[group_of[x]]).max() for x in inputs}
        for x, peak in peaks.items():
            shift = peak - torch.stack(list(peaks.values())).mean()
            shifted[group_of[x]] = shifted[group_of[x]] + shift.clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE)
    return shifted


def _reach(samples: Tensor) -> Tensor:
    """The magnitude (C,) that a channel of the samples (C, K) hardly ever passes."""
    beyond = max(1, round((1 - RANGE_QUANTILE) * samples.shape[1]))
    return torch.topk(samples.abs(), beyond, dim=1).values[:, -1].double()


def _log_range(reach: Tensor) -> Tensor:
    """Log of each channel's reach, relative to their mean; channels that never move count as average."""
    alive = reach > 1e-6 * reach.max().clamp_min(1e-30)
    logs = torch.where(alive, reach.clamp_min(1e-30), torch.ones_like(reach)).log()
    mean = logs[alive].mean() if bool(alive.any()) else torch.zeros(())
    return torch.where(alive, logs - mean, torch.zeros_like(logs))
