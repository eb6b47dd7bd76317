"""The quantized network as something that can learn: a float graph and the parameters that gradients move.

What is learned, all starting at nothing changed:

    log scales D of every free channel group (see channel_scales)      W' = W e^(D_in - D_out)
    log step and zero point of every quantized tensor                  tied tensors share them
    a bias correction for every convolution, in steps of its output
    optionally the weights, in steps of their own INT8 grids

Activations are rounded as INT8 will round them; weights stay real, because they are rounded well afterwards (GPTQ), and
because a change of one percent in a scale re-rounds every weight that it touches: gradients see only noise in that.
The image grids at both ends are not learned; the output is clipped to [0, 1] but not rounded.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from edgesr.graph import Graph
from edgesr.ops import Convolution, Op
from edgesr.quant.channel_scales import ScaleStructure, weight_factors
from edgesr.quant.learning.fake_quant import LEVELS, fake_quantize
from edgesr.quant.learning.plan import Kind
from edgesr.quant.ranges import MOVERS, is_prescribed, tied_groups
from edgesr.quant.slope_scales import with_exact_slopes
from edgesr.quant.weights import WEIGHT_LIMIT
from edgesr.quantized import QuantizedWeight, QuantParams, as_stored

RoundedWeights = Mapping[str, QuantizedWeight]
"""Integer weights by convolution."""
NOTHING_ROUNDED: RoundedWeights = {}
Parameters = dict[Kind, list[Tensor]]
"""Learned tensors by kind."""


class Student:
    """A graph with ranges, and the parameters that change both; `start` is where they start, nothing changed.

    Convolutions in `rounded` have these integer weights and keep them; their biases still move.
    """

    def __init__(
        self,
        graph: Graph,
        activations: Mapping[str, QuantParams],
        rounded: RoundedWeights = NOTHING_ROUNDED,
    ) -> None:
        self.graph = graph
        self.structure = ScaleStructure.of(graph)
        self.convolutions = [op for op in graph if isinstance(op, Convolution)]
        self.groups = [group for group in tied_groups(graph) if not is_prescribed(graph, group)]
        self.group_of = {name: i for i, group in enumerate(self.groups) for name in group}
        self.activations = dict(activations)
        self.one_sided = [activations[group[0]].zero_point == activations[group[0]].lowest for group in self.groups]
        self.unit = [_weight_unit(op) * (op.name not in rounded) for op in self.convolutions]
        self.base = [(_weight(op, rounded).float(), _bias(op).float()) for op in self.convolutions]
        first = [activations[group[0]] for group in self.groups]
        self.start: Parameters = {
            Kind.SCALES: [torch.zeros(self.structure.channels(group)) for group in self.structure.groups],
            Kind.STEPS: [torch.tensor(params.scale).log() for params in first],
            Kind.ZEROS: [torch.tensor(float(params.zero_point - params.lowest)) for params in first],
            Kind.BIASES: [torch.zeros(op.weight.shape[0]) for op in self.convolutions],
            Kind.WEIGHTS: [torch.zeros(op.weight.shape) for op in self.convolutions],
        }

    def on(self, device: torch.device) -> Student:
        """The student with its own tensors on a device."""
        moved = copy.copy(self)
        moved.unit = [unit.to(device) for unit in self.unit]
        moved.base = [(weight.to(device), bias.to(device)) for weight, bias in self.base]
        return moved

    def execute(self, x: Tensor, parameters: Parameters) -> Tensor:
        """The output (N, C, sH, sW) in [0, 1] for images (N, C, H, W), differentiable in the parameters."""
        steps = [step.exp() for step in parameters[Kind.STEPS]]
        zeros = [
            z.detach() if one else z.clamp(0, LEVELS)
            for z, one in zip(parameters[Kind.ZEROS], self.one_sided, strict=True)
        ]

        def observe(name: str, y: Tensor) -> Tensor:
            group = self.group_of.get(name)
            if group is None or isinstance(self.graph.producer(name), MOVERS):
                return y
            return fake_quantize(y, steps[group], zeros[group])

        return self._scaled(parameters).execute(x, observe).clamp(0, 1)

    def _scaled(self, parameters: Parameters) -> Graph:
        """The graph with the weights and biases that the parameters stand for, in float32."""
        logs = self.structure.expand(parameters[Kind.SCALES])
        changed: dict[str, Op] = {}
        for i, op in enumerate(self.convolutions):
            weight, bias = self.base[i]
            weight = weight + parameters[Kind.WEIGHTS][i] * self.unit[i]
            out, into = torch.exp(-logs[op.name]).to(weight), torch.exp(logs[op.inputs[0]]).to(weight)
            bias = bias * out + parameters[Kind.BIASES][i] * self._step(op.name, parameters)
            changed[op.name] = replace(op, weight=weight * weight_factors(op, out, into), bias=bias)
        return replace(self.graph, ops=tuple(changed.get(op.name, op) for op in self.graph))

    def _step(self, name: str, parameters: Parameters) -> Tensor:
        """The step of a tensor, without gradient: it is only the unit of its bias."""
        group = self.group_of.get(name)
        if group is None:
            return torch.tensor(self.activations[name].scale)
        return parameters[Kind.STEPS][group].detach().exp()

    def learned(self, parameters: Parameters) -> tuple[Graph, dict[str, QuantParams]]:
        """The graph and the quantization of its tensors with what was learned put in for good."""
        with torch.no_grad():
            graph = self._scaled(parameters)
        ops = tuple(_float64(op) if isinstance(op, Convolution) else op for op in graph)
        activations = dict(self.activations)
        for i, group in enumerate(self.groups):
            step = as_stored(parameters[Kind.STEPS][i].exp().item())
            lowest = self.activations[group[0]].lowest
            zero = round(parameters[Kind.ZEROS][i].clamp(0, LEVELS).item()) + lowest
            activations |= dict.fromkeys(group, QuantParams(step, zero))
        return replace(self.graph, ops=ops), with_exact_slopes(self.graph, activations)


def _weight_unit(op: Convolution) -> Tensor:
    """The INT8 step of each row of a convolution, (O, 1, 1, 1)."""
    return (op.weight.abs().flatten(1).amax(1) / WEIGHT_LIMIT).float()[:, None, None, None]


def _weight(op: Convolution, rounded: RoundedWeights) -> Tensor:
    if op.name not in rounded:
        return op.weight
    integers = rounded[op.name]
    return integers.values.double() * integers.scales[:, None, None, None]


def _bias(op: Convolution) -> Tensor:
    return torch.zeros(op.weight.shape[0], dtype=torch.float64) if op.bias is None else op.bias


def _float64(op: Convolution) -> Convolution:
    assert op.bias is not None
    return replace(op, weight=op.weight.double(), bias=op.bias.double())
