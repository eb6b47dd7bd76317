"""Give chosen tensors of a quantized graph 16 bits, and write where 8 and 16 bits meet.

An operator computes in 16 bits when it reads or writes a chosen tensor and the target has it in 16 bits. Its result
then has 16 bits whether that tensor was chosen or not, and what it reads is brought to 16 bits:

    8 -> 16   scale s / 2^k, zero point 0, k = 7: 2^k (q - z) lies within +-32640, so every 8-bit value is exact
    16 -> 8   the tensor's own 8-bit grid, as it was

Operators that only move values (concat, slice ...) share one grid with all they read and write: their tensors are
chosen together. The group of the image has 8 bits always. 16-bit grids reach `HEADROOM` times the largest value seen:
16 bits have steps to spare, and nothing costs as much as a value cut off. Weights keep their integers; biases are
rescaled to the new input scale, which is made larger where a bias would leave its share of int32 (see `weights`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch

from edgesr.errors import ExportError
from edgesr.graph import Graph
from edgesr.ops import Constant, Convolution, Op, Requantize
from edgesr.quant.calibration import Calibration
from edgesr.quant.ranges import MOVERS, tied_groups
from edgesr.quant.weights import BIAS_LIMIT
from edgesr.quantized import NARROW_BITS, WIDE_BITS, QuantizedGraph, QuantizedWeight, QuantParams, as_stored
from edgesr.sixteen_bits import Refusals

HEADROOM = 2.0
EXACT_SHIFT = 7
"""128 * 255 is the largest magnitude of an 8-bit value on the 16-bit grid that holds it exactly."""

Group = tuple[str, ...]
"""Tensors that share one grid and so one width."""


@dataclass(frozen=True)
class Widenable:
    """The groups of tensors that may have 16 bits, and why each of the others may not."""

    groups: tuple[Group, ...]
    refused: Mapping[str, str]


def widenable(graph: Graph, refusals: Refusals) -> Widenable:
    """What may have 16 bits where operators of the kinds in `refusals` cannot."""
    groups: list[Group] = []
    refused: dict[str, str] = {}
    for group in tied_groups(graph):
        why = _refusal(graph, group, refusals)
        if why is None:
            groups.append(tuple(group))
        else:
            refused |= dict.fromkeys(group, why)
    return Widenable(tuple(groups), refused)


def _refusal(graph: Graph, group: Iterable[str], refusals: Refusals) -> str | None:
    """Why a group keeps 8 bits: the image, constants, or an operator that has no 16-bit form; None where nothing."""
    if {graph.input.name, graph.output} & set(group):
        return "the image has 8 bits"
    readers: list[Op] = []
    for name in group:
        producer = graph.producer(name)
        if isinstance(producer, Constant):
            return "a constant follows its readers"
        if producer is not None and type(producer) in refusals:
            return f"made by '{name}': {refusals[type(producer)]}"
        readers += graph.consumers[name]
    if readers and all(type(reader) in refusals for reader in readers):
        return f"read by '{readers[0].name}': {refusals[type(readers[0])]}"
    return None


def widen(
    network: QuantizedGraph, groups: Iterable[Group], calibration: Calibration, refusals: Refusals
) -> QuantizedGraph:
    """An 8-bit network with 16 bits in these groups; `calibration` holds the extremes of the graph's own tensors.

    Raises `ExportError` for a group that `widenable` does not list.
    """
    possible = widenable(network.graph, refusals)
    chosen: set[str] = set()
    for group in groups:
        if group not in possible.groups:
            why = possible.refused.get(group[0], "it is no whole group")
            raise ExportError(f"'{group[0]}' cannot have 16 bits: {why}")
        chosen |= set(group)
    return _Widening(network, frozenset(chosen), calibration, refusals).result() if chosen else network


def copy_name(name: str, bits: int) -> str:
    """What the copy of a tensor in another width is called."""
    return f"{name}.{bits}bit"


class _Widening:
    """One widening: which operators compute in 16 bits, and the graph as it is rewritten."""

    def __init__(
        self, network: QuantizedGraph, chosen: frozenset[str], calibration: Calibration, refusals: Refusals
    ) -> None:
        self.network = network
        self.chosen = chosen
        self.calibration = calibration
        self.wide_ops = {op.name for op in network.graph if type(op) not in refusals and self._touches(op)}
        self.ops: list[Op] = []
        self.activations: dict[str, QuantParams] = {network.graph.input.name: network.input}
        self.weights: dict[str, QuantizedWeight] = {}

    def _touches(self, op: Op) -> bool:
        """Whether an operator reads or writes a chosen tensor; one that moves values shares its group's width."""
        if isinstance(op, Constant):
            return False
        return op.name in self.chosen or (not isinstance(op, MOVERS) and bool(self.chosen & set(op.inputs)))

    def result(self) -> QuantizedGraph:
        """The rewritten network."""
        graph = self.network.graph
        grids = self._wide_grids()
        for op in graph:
            wide = op.name in self.wide_ops
            bits = WIDE_BITS if wide else NARROW_BITS
            renamed = {x: self._at(x, bits) for x in op.inputs}
            self.ops.append(op.with_inputs(renamed))
            self.activations[op.name] = grids[op.name] if wide else self.network.activations[op.name]
            if isinstance(op, Convolution):
                self.weights[op.name] = self._rescaled(op, self.activations[renamed[op.inputs[0]]].scale)
        output = self._at(graph.output, NARROW_BITS)
        rewritten = replace(graph, ops=tuple(self.ops), output=output).pruned()
        kept = {name: self.activations[name] for name in rewritten.specs}
        return QuantizedGraph(rewritten, kept, self.weights)

    def _wide_grids(self) -> dict[str, QuantParams]:
        """The 16-bit grid of what each wide operator writes; one for all of a chosen group."""
        grids: dict[str, QuantParams] = {}
        for group in tied_groups(self.network.graph):
            tied = self.chosen.issuperset(group)
            wide = [name for name in group if name in self.wide_ops]
            for members in [wide] if tied and wide else [[name] for name in wide]:
                reach = HEADROOM * max(self._reach(name) for name in members)
                least = max(self._least_scale(name) for name in members)
                params = QuantParams.symmetric(reach)
                if params.scale < least:
                    params = replace(params, scale=as_stored(least))
                grids |= dict.fromkeys(members, params)
        return grids

    def _reach(self, name: str) -> float:
        statistics = self.calibration[name]
        return max(abs(statistics.lowest.min().item()), abs(statistics.highest.max().item()))

    def _least_scale(self, name: str) -> float:
        """The smallest scale with which the biases of all convolutions that read a tensor keep to their limit."""
        scale = self.network.activations[name].scale
        readers = [op for op in self.network.graph.consumers[name] if isinstance(op, Convolution)]
        largest = [int(self.network.weights[op.name].bias.abs().max()) for op in readers]
        return max(largest, default=0) * scale / BIAS_LIMIT

    def _at(self, name: str, bits: int) -> str:
        """The tensor, or its copy, that has so many bits."""
        if self.activations[name].bits == bits:
            return name
        copy = copy_name(name, bits)
        if copy not in self.activations:
            producer = self.network.graph.producer(name)
            if isinstance(producer, Constant):
                self.ops.append(replace(producer, name=copy))
                self.activations[copy] = QuantParams.symmetric(max(self._reach(name), 1e-12))
            else:
                self.ops.append(Requantize(name=copy, inputs=(name,)))
                self.activations[copy] = self._copied(name, bits)
        return copy

    def _copied(self, name: str, bits: int) -> QuantParams:
        params = self.network.activations[name]
        if bits == NARROW_BITS:
            return params
        least = self._least_scale(name)
        shift = next((k for k in range(EXACT_SHIFT, 0, -1) if params.scale / 2**k >= least), 0)
        return QuantParams(as_stored(params.scale / 2**shift), 0, WIDE_BITS)

    def _rescaled(self, op: Convolution, input_scale: float) -> QuantizedWeight:
        """The integers with the bias in steps of another input scale."""
        weight = self.network.weights[op.name]
        ratio = self.network.activations[op.inputs[0]].scale / input_scale
        if ratio == 1:
            return weight
        return replace(weight, bias=torch.round(weight.bias.double() * ratio).to(torch.int32))
