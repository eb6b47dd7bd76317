"""The INT8 network with its PixelShuffle as converters write it, to show what folding it away saves.

litert-torch 0.10.0 writes PixelShuffle of block s on (1, H, W, C*s*s) as four TRANSPOSE and three RESHAPE, read from a
file that it made of SPANV2 (2026-11-25). With channels in PyTorch's order, c*s*s + i*s + j:

    (1, H, W, Css) T-> (1, Css, H, W) R-> (C, s, s, HW) T-> (C, s, HW, s) R-> (C, s, H, sW) T-> (C, H, s, sW)
                   R-> (1, C, sH, sW) T-> (1, sH, sW, C)

All else stays as it is, the dense conv_near included, whose depthwise form Vela does not survive. The file computes the
same bytes as the one with DEPTH_TO_SPACE. Its sizes are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema

from edgesr.errors import ExportError
from edgesr.export.folds.host_shuffle import host_block, without_shuffle
from edgesr.export.folds.pixel_shuffle_to_depth_to_space import native_order, permuted_producers
from edgesr.export.tflite_builder import ModelBuilder
from edgesr.export.tflite_ops import EMITTERS, Emission
from edgesr.quantized import QuantizedGraph
from edgesr.target import Precision

Builtin, Options = schema.BuiltinOperator, schema.BuiltinOptions


@dataclass(frozen=True)
class _Step:
    """A TRANSPOSE by `order`, or where that is empty a RESHAPE, and the shape that comes out."""

    shape: tuple[int, ...]
    order: tuple[int, ...] = ()


def emit_unfolded(network: QuantizedGraph, size: tuple[int, int]) -> bytes:
    """A TFLite file with int8 I/O for one input size (H, W), its last DepthToSpace as RESHAPE and TRANSPOSE.

    Raises `ExportError` where the graph does not end in DepthToSpace, or other than convolutions stand before it.
    """
    block, graph = host_block(network), network.graph
    bare = without_shuffle(in_torch_order(network))
    builder = ModelBuilder("edgesr, unfolded")
    subgraph = builder.subgraph(f"{size[0]}x{size[1]}")
    emission = Emission(subgraph, bare, Precision.INT8, size)
    image = emission.activation(graph.input.name)
    for op in bare.graph:
        EMITTERS[type(op)](emission, op)
    tensor = emission.index[bare.graph.output]
    for position, step in enumerate(_steps(size, graph.specs[graph.output].channels, block)):
        tensor = _emit_step(emission, bare.graph.output, tensor, f"{graph.output}.{position}", step)
    subgraph.finish([image], [tensor])
    return builder.serialize()


def in_torch_order(network: QuantizedGraph) -> QuantizedGraph:
    """The network with the channels before its last DepthToSpace in PyTorch's order; the shuffle itself is not told."""
    graph = network.graph
    shuffle = graph.producer(graph.output)
    assert shuffle is not None  # host_block has found it
    source = shuffle.inputs[0]
    order = torch.argsort(native_order(graph.specs[source].channels, host_block(network)))
    changes = permuted_producers(graph, source, order)
    if changes is None:
        raise ExportError(f"'{source}' cannot be put into PyTorch's channel order: it is made by no plain convolution")
    weights = dict(network.weights)
    for name in changes.keys() & weights.keys():
        w = weights[name]
        weights[name] = replace(w, values=w.values[order], scales=w.scales[order], bias=w.bias[order])
    ops = tuple(changes.get(op.name, op) for op in graph.ops)
    return replace(network, graph=replace(graph, ops=ops), weights=weights)


def _steps(size: tuple[int, int], channels: int, block: int) -> tuple[_Step, ...]:
    (h, w), c, s = size, channels, block
    return (
        _Step((1, c * s * s, h, w), (0, 3, 1, 2)),
        _Step((c, s, s, h * w)),
        _Step((c, s, h * w, s), (0, 1, 3, 2)),
        _Step((c, s, h, w * s)),
        _Step((c, h, s, w * s), (0, 2, 1, 3)),
        _Step((1, c, h * s, w * s)),
        _Step((1, h * s, w * s, c), (0, 2, 3, 1)),
    )


def _emit_step(emission: Emission, like: str, tensor: int, name: str, step: _Step) -> int:
    numbers = np.array(step.order or step.shape, np.int32)
    inputs = [tensor, emission.subgraph.constant(f"{name}.{'order' if step.order else 'shape'}", numbers)]
    result = emission.scratch(name, like, step.shape)
    if step.order:
        emission.subgraph.operator(
            Builtin.TRANSPOSE, 2, inputs, [result], schema.TransposeOptionsT(), Options.TransposeOptions
        )
    else:
        options = schema.ReshapeOptionsT()
        options.newShape = list(step.shape)
        emission.subgraph.operator(Builtin.RESHAPE, 1, inputs, [result], options, Options.ReshapeOptions)
    return result
