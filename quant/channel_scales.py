"""Channel scales that the network cannot see: which tensors may choose them, and which must follow.

Replace every tensor t by t' = t / s_t, one positive scale per channel. The function stays the same when

    convolution   W'[o, i] = W[o, i] * s_in[i] / s_out[o],   b' = b / s_out      (ReLU commutes with s > 0)
    a + b         s_out = s_a = s_b
    a * b         s_out = s_a * s_b
    concat        s_out = the scales joined
    anything else s_out = s_in = 1, the image too

(Nagel et al., Data-Free Quantization, 2019, for ReLU pairs; LeakyReLU commutes as well; the rules for products are
ours.) So tensors fall into free groups, tied by additions, each with one scale for each channel, and followers: a gate
takes what its product needs, a concat what it joins. Where a factor's scale is one by nature (a sigmoid's, a
constant's, their sum's), the product is tied to the other factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Concat, Convolution, LeakyRelu, Mul, Op, Relu, Sub

TYING = (Add, Sub, Relu, LeakyRelu)
"""Operators whose output and inputs have one scale."""

LogScales = Mapping[str, Tensor]
"""log s by tensor, each (C,)."""


@dataclass(frozen=True, eq=False)
class ScaleStructure:
    """The free groups of a graph's tensors; all others follow from them or are fixed at one."""

    graph: Graph
    groups: tuple[tuple[str, ...], ...]
    fixed: frozenset[str]

    @classmethod
    def of(cls, graph: Graph) -> ScaleStructure:
        """The structure of a graph."""
        fixed = _fixed_tensors(graph)
        groups = tuple(tuple(group) for group in _free_groups(graph, fixed))
        return cls(graph, groups, frozenset(fixed))

    def channels(self, group: Sequence[str]) -> int:
        """How many channels the tensors of a group have."""
        return self.graph.specs[group[0]].channels

    def expand(self, chosen: Sequence[Tensor]) -> dict[str, Tensor]:
        """Log scales of every tensor from those of each group (C,), in their dtype; differentiable."""
        like = chosen[0] if chosen else torch.zeros((), dtype=torch.float64)
        scales = {name: like.new_zeros(spec.channels) for name, spec in self.graph.specs.items()}
        for group, values in zip(self.groups, chosen, strict=True):
            scales |= dict.fromkeys(group, values)
        for op in self.graph:
            if isinstance(op, Mul) and op.name not in self.fixed and _carried(self.graph, op) is None:
                gate = _gate(self.graph, op)
                assert gate is not None  # a product without a gate is fixed
                (other,) = (x for x in op.inputs if x != gate)
                scales[gate] = scales[op.name] - scales[other]
            elif isinstance(op, Concat):
                scales[op.name] = torch.cat([scales[x] for x in op.inputs])
        return scales


def apply_scales(graph: Graph, log_scales: LogScales) -> Graph:
    """The graph whose every tensor t is t / exp(log_scales[t]); the scales must satisfy the rules above."""
    ops: list[Op] = []
    for op in graph:
        if isinstance(op, Convolution):
            out, into = torch.exp(-log_scales[op.name].double()), torch.exp(log_scales[op.inputs[0]].double())
            weight = op.weight * weight_factors(op, out, into)
            op = replace(op, weight=weight, bias=None if op.bias is None else op.bias * out)
        ops.append(op)
    return replace(graph, ops=tuple(ops))


def weight_factors(op: Convolution, out: Tensor, into: Tensor) -> Tensor:
    """What a convolution's weights are multiplied by, (O, I per group, 1, 1), for factors of its rows and inputs."""
    per_row = into.reshape(op.group_count, -1).repeat_interleave(op.weight.shape[0] // op.group_count, 0)
    return (out[:, None] * per_row)[:, :, None, None]


def _gate(graph: Graph, op: Op) -> str | None:
    """The factor of a product that only the product reads and a bare convolution makes: its scale is free to follow."""
    for name in reversed(op.inputs):
        producer = graph.producer(name)
        is_bare = isinstance(producer, Convolution) and producer.activation is not Activation.RELU6
        if is_bare and graph.sole_consumer(name) is op and len(set(op.inputs)) == 2:
            return name
    return None


def _carried(graph: Graph, op: Op) -> str | None:
    """The factor whose scale a product takes over because the other one's is one by nature; None for other products."""
    if not isinstance(op, Mul) or len(set(op.inputs)) != 2:
        return None
    free = [name for name in op.inputs if not _is_unit(graph, name)]
    return free[0] if len(free) == 1 else None


def _is_unit(graph: Graph, name: str) -> bool:
    """Whether a tensor's scale is one whatever is chosen: the image, a constant, what a function makes, their sums."""
    producer = graph.producer(name)
    if isinstance(producer, (Add, Sub)):
        return all(_is_unit(graph, x) for x in producer.inputs)
    return not isinstance(producer, (Convolution, Mul, Concat, Relu, LeakyRelu))


def _scalable(graph: Graph, op: Op) -> bool:
    """Whether the operator commutes with channel scales that obey the rules."""
    if isinstance(op, (Convolution, Add, Sub, Mul)) and op.activation is Activation.RELU6:
        return False
    if isinstance(op, (Add, Sub, Mul)) and any(
        graph.specs[x].channels != graph.specs[op.name].channels for x in op.inputs
    ):  # one channel spread over many
        return False
    if isinstance(op, Concat):  # its scales follow from what it joins: nothing else may bind them
        return not any(isinstance(reader, TYING) for reader in graph.consumers[op.name])
    if isinstance(op, Mul):
        return _gate(graph, op) is not None or _carried(graph, op) is not None
    return isinstance(op, (Convolution, *TYING))


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
            members = set(_bound(graph, op))
            if isinstance(op, (Mul, Concat, *TYING)) and members & fixed:
                fixed |= members
        changed = len(fixed) > before
    return fixed


def _bound(graph: Graph, op: Op) -> tuple[str, ...]:
    """The tensors whose scales an operator binds to each other."""
    carried = _carried(graph, op)
    return (op.name, *op.inputs) if carried is None else (op.name, carried)


def _free_groups(graph: Graph, fixed: set[str]) -> list[list[str]]:
    """Sets of tensors that share one scale and may choose it; gates and concats follow from others."""
    gated = (op for op in graph if isinstance(op, Mul) and _carried(graph, op) is None)
    follows = {g for op in gated if (g := _gate(graph, op))} | {op.name for op in graph if isinstance(op, Concat)}
    groups = {name: {name} for name in graph.specs if name not in fixed | follows}
    for op in graph:
        is_tie = isinstance(op, TYING) or _carried(graph, op) is not None
        if is_tie and op.name in groups:
            _unite(groups, _bound(graph, op))
    return [sorted(group) for group in {id(g): g for g in groups.values()}.values()]


def _unite(groups: dict[str, set[str]], names: Iterable[str]) -> None:
    merged: set[str] = set().union(*(groups[name] for name in names if name in groups))
    for name in merged:
        groups[name] = merged
