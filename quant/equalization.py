"""Cross-layer equalization: channel scales that the network cannot see, chosen so that per-tensor INT8 can.

Replace every tensor t by t' = t / s_t, one positive scale per channel. The function stays the same when

    convolution   W'[o, i] = W[o, i] * s_in[i] / s_out[o],   b' = b / s_out      (ReLU commutes with positive scales)
    a + b         s_out = s_a = s_b
    a * b         s_out = s_a * s_b
    concat        s_out = the scales joined
    anything else s_out = s_in = 1, the image too

(Nagel et al., Data-Free Quantization, 2019, for ReLU pairs; the gate rule is ours.) Scales are s = r^alpha with r the
channel's range relative to the geometric mean: alpha 1 gives every channel of a tensor the same range and moves all
spread into the weights that read it, 1/2 shares it. Tensors tied by an addition share the mean of their log ranges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Concat, Convolution, Mul, Op, Relu, Sub
from edgesr.quant.calibration import Calibration

RANGE_QUANTILE = 0.9999
MAX_LOG_SCALE = 4.0
"""Channels are moved by at most e^4, those of gates by e^8: a dead channel must not get an unbounded scale."""

LogScales = Mapping[str, Tensor]
"""log s by tensor, each (C,)."""


def equalize(graph: Graph, calibration: Calibration, alpha: float = 0.5) -> tuple[Graph, Calibration]:
    """The graph with equalized channels, exact in real arithmetic, and the statistics of its tensors."""
    scales = choose_scales(graph, calibration, alpha)
    scaled = {name: stats.scaled(torch.exp(-scales[name]).float()) for name, stats in calibration.items()}
    return apply_scales(graph, scales), scaled


def apply_scales(graph: Graph, log_scales: LogScales) -> Graph:
    """The graph whose every tensor t is t / exp(log_scales[t]); the scales must satisfy the rules above."""
    ops: list[Op] = []
    for op in graph:
        if isinstance(op, Convolution):
            out, into = torch.exp(-log_scales[op.name].double()), torch.exp(log_scales[op.inputs[0]].double())
            weight = op.weight * (out[:, None] * _per_row(op, into))[:, :, None, None]
            op = replace(op, weight=weight, bias=None if op.bias is None else op.bias * out)
        ops.append(op)
    return replace(graph, ops=tuple(ops))


def _per_row(op: Convolution, values: Tensor) -> Tensor:
    """For each filter the values (O, I per group) of the channels that it reads: those of its group."""
    return values.reshape(op.group_count, -1).repeat_interleave(op.weight.shape[0] // op.group_count, 0)


def choose_scales(graph: Graph, calibration: Calibration, alpha: float) -> LogScales:
    """Log scales for every tensor from its channels' ranges."""
    fixed = _fixed_tensors(graph)
    free = _free_groups(graph, fixed)
    log_ranges = {name: _log_range(calibration[name].samples) for name in graph.specs}
    zeros = {name: torch.zeros(spec.channels, dtype=torch.float64) for name, spec in graph.specs.items()}
    scales = dict(zeros)
    for group in free:
        wanted = torch.stack([log_ranges[name] for name in group]).mean(0) * alpha
        for name in group:
            scales[name] = wanted.clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE)
    for op in graph:
        if isinstance(op, Mul) and op.name not in fixed:
            gate = _gate(graph, op)
            assert gate is not None  # a product without a gate is fixed
            (other,) = (x for x in op.inputs if x != gate)
            scales[gate] = scales[op.name] - scales[other]
        elif isinstance(op, Concat):
            scales[op.name] = torch.cat([scales[x] for x in op.inputs])
    return scales


def _log_range(samples: Tensor) -> Tensor:
    """Log of each channel's range, relative to their mean; channels that never move count as average."""
    beyond = max(1, round((1 - RANGE_QUANTILE) * samples.shape[1]))
    reach = torch.topk(samples.abs(), beyond, dim=1).values[:, -1].double()
    alive = reach > 1e-6 * reach.max().clamp_min(1e-30)
    logs = torch.where(alive, reach.clamp_min(1e-30), torch.ones_like(reach)).log()
    mean = logs[alive].mean() if bool(alive.any()) else torch.zeros(())
    return torch.where(alive, logs - mean, torch.zeros_like(logs))


def _gate(graph: Graph, op: Op) -> str | None:
    """The factor of a product that only the product reads and a bare convolution makes: its scale is free to follow."""
    for name in reversed(op.inputs):
        producer = graph.producer(name)
        is_bare = isinstance(producer, Convolution) and producer.activation is not Activation.RELU6
        if is_bare and graph.sole_consumer(name) is op and len(set(op.inputs)) == 2:
            return name
    return None


def _scalable(graph: Graph, op: Op) -> bool:
    """Whether the operator commutes with channel scales that obey the rules."""
    if isinstance(op, (Convolution, Add, Sub, Mul)) and op.activation is Activation.RELU6:
        return False
    if isinstance(op, (Add, Sub, Mul)) and any(
        graph.specs[x].channels != graph.specs[op.name].channels for x in op.inputs
    ):  # one channel spread over many
        return False
    if isinstance(op, Concat):  # its scales follow from what it joins: nothing else may bind them
        return not any(isinstance(reader, (Add, Sub, Relu)) for reader in graph.consumers[op.name])
    if isinstance(op, Mul):
        return _gate(graph, op) is not None
    return isinstance(op, (Convolution, Add, Sub, Relu))


def _fixed_tensors(graph: Graph) -> set[str]:
    """Tensors whose scale must be one: the image, the output, and whatever a fixed operator reads or writes."""
    fixed = {graph.input.name, graph.output}
    for op in graph:
        if not _scalable(graph, op):
            fixed |= {op.name, *op.inputs}
    changed = True
    while changed:  # a tie to a fixed tensor fixes; so does a product of which any member is fixed
        before = len(fixed)
        for op in graph:
            members = {op.name, *op.inputs}
            if isinstance(op, (Add, Sub, Mul, Concat, Relu)) and members & fixed:
                fixed |= members
        changed = len(fixed) > before
    return fixed


def _free_groups(graph: Graph, fixed: set[str]) -> list[list[str]]:
    """Sets of tensors that share one scale and may choose it; gates and concats follow from others."""
    follows = {g for op in graph if isinstance(op, Mul) and (g := _gate(graph, op))} | {
        op.name for op in graph if isinstance(op, Concat)
    }
    groups = {name: {name} for name in graph.specs if name not in fixed | follows}
    for op in graph:
        if isinstance(op, (Add, Sub, Relu)) and op.name in groups:
            _unite(groups, (op.name, *op.inputs))
    return [sorted(group) for group in {id(g): g for g in groups.values()}.values()]


def _unite(groups: dict[str, set[str]], names: Iterable[str]) -> None:
    merged: set[str] = set().union(*(groups[name] for name in names if name in groups))
    for name in merged:
        groups[name] = merged
