"""Refine integer weights layer by layer, each on what the layers before it, already refined, really put out.

The float graph and the quantized graph run side by side on the same images. At each convolution every refinement gets
the float inputs, the quantized inputs and the integers so far, and returns better integers; then both graphs go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from edgesr.graph import Graph
from edgesr.ops import Convolution, Op
from edgesr.progress import Progress, silent
from edgesr.quant.calibration import to_tensor
from edgesr.quantized import QuantizedGraph, QuantizedWeight


@dataclass(frozen=True, eq=False)
class LayerInputs:
    """What one convolution reads, image by image, each (1, C, H, W): in the float graph, and as quantized reals."""

    exact: Sequence[Tensor]
    rounded: Sequence[Tensor]
    scale: float


class Refinement(Protocol):
    """Better integers for one convolution."""

    def __call__(self, op: Convolution, weight: QuantizedWeight, inputs: LayerInputs) -> QuantizedWeight:
        """The refined integers; `op` holds the float weights and bias that they stand for."""


def refine(
    network: QuantizedGraph,
    images: Sequence[np.ndarray],
    refinements: Sequence[Refinement],
    progress: Progress = silent,
) -> QuantizedGraph:
    """The network with every convolution refined, from uint8 images (H, W, 3) of any sizes."""
    graph = network.graph
    exact: list[dict[str, Tensor]] = [{graph.input.name: to_tensor(image)} for image in images]
    rounded = [{name: _rounded(network, name, x) for name, x in values.items()} for values in exact]
    weights = dict(network.weights)
    with torch.no_grad():
        for done, op in enumerate(graph):
            progress("refining weights", done, len(graph.ops))
            quantized_op = network.dequantized_op(op.name)
            if isinstance(op, Convolution):
                source = op.inputs[0]
                inputs = LayerInputs(
                    [values[source] for values in exact],
                    [values[source] for values in rounded],
                    network.activations[source].scale,
                )
                for refinement in refinements:
                    weights[op.name] = refinement(op, weights[op.name], inputs)
                quantized_op = dequantize(op, weights[op.name], inputs.scale)
            for values, quantized_values in zip(exact, rounded, strict=True):
                values[op.name] = evaluate(op, [values[name] for name in op.inputs])
                found = evaluate(quantized_op, [quantized_values[name] for name in op.inputs])
                quantized_values[op.name] = _rounded(network, op.name, found)
            _forget_unread(graph, op, [*exact, *rounded])
    progress("refining weights", len(graph.ops), len(graph.ops))
    return replace(network, weights=weights)


def dequantize(op: Convolution, weight: QuantizedWeight, input_scale: float) -> Convolution:
    """The convolution with the reals that integers stand for."""
    values = weight.values.double() * weight.scales[:, None, None, None]
    return replace(op, weight=values, bias=weight.bias.double() * weight.scales * input_scale)


def evaluate(op: Op, inputs: Sequence[Tensor]) -> Tensor:
    """The operator's output in float32."""
    return op.evaluate(*inputs).float()


def _rounded(network: QuantizedGraph, name: str, x: Tensor) -> Tensor:
    params = network.activations[name]
    return params.dequantize(params.quantize(x))


def _forget_unread(graph: Graph, op: Op, all_values: Sequence[dict[str, Tensor]]) -> None:
    """Drop the inputs of an operator that no later one reads."""
    position = graph.ops.index(op)
    later = {name for other in graph.ops[position + 1 :] for name in other.inputs}
    for values in all_values:
        for name in set(op.inputs) - later:
            values.pop(name, None)
