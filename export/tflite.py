"""A graph as a TFLite file: NHWC, native DEPTH_TO_SPACE, one subgraph and signature for each size.

Float graphs store weights as float32, or as float16 with a DEQUANTIZE in front of each reader. Quantized graphs hold
int8 throughout, or int16 with int64 biases in their parts of 16 bits; with uint8 or float32 I/O one QUANTIZE stands at
the input and one QUANTIZE or DEQUANTIZE at the output. Shapes are static and the file resizes (`resize_tensor_input`),
unless an operator stores a size. Tensors are named like the graph's, so that a runtime's tensors can be compared with
the graph's one by one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ai_edge_litert import schema_py_generated as schema

from edgesr.artifact import INPUT_NAME, OUTPUT_NAME
from edgesr.errors import ExportError
from edgesr.export.tflite_builder import ModelBuilder
from edgesr.export.tflite_ops import EMITTERS, Emission
from edgesr.graph import Graph
from edgesr.ops import ResizeNearest
from edgesr.quantized import QuantizedGraph, float_graph
from edgesr.target import IODtype, Precision

DEFAULT_SIGNATURE = "serving_default"
MIN_RUNTIME_VERSION = b"2.14.0\x00\x00"
Builtin, Options = schema.BuiltinOperator, schema.BuiltinOptions


def emit_tflite(
    network: Graph | QuantizedGraph,
    precision: Precision,
    io: IODtype,
    sizes: Sequence[tuple[int, int]],
    contract: Mapping[str, object],
) -> bytes:
    """The bytes of a TFLite file for input sizes (H, W), the first one behind the default signature.

    `contract` is stored as JSON in the file's metadata. Raises `ExportError` when an operator has no TFLite form.
    """
    if precision.is_integer != isinstance(network, QuantizedGraph):
        raise ExportError(f"TFLite {precision.value} needs a {'quantized' if precision.is_integer else 'float'} graph")
    builder = ModelBuilder("edgesr")
    for index, size in enumerate(sizes):
        inputs, outputs = _emit_subgraph(builder, network, precision, io, size)
        keys = [f"{size[0]}x{size[1]}"] if index else [DEFAULT_SIGNATURE]
        for key in keys:
            builder.signature(key, index, {INPUT_NAME: inputs}, {OUTPUT_NAME: outputs})
    builder.metadata("min_runtime_version", MIN_RUNTIME_VERSION)
    builder.metadata("edgesr", json.dumps(contract, sort_keys=True).encode())
    return builder.serialize()


def is_resizable(graph: Graph) -> bool:
    """Whether the emitted file runs at any size after a resize: no operator stores one."""
    return not any(isinstance(op, ResizeNearest) for op in graph)


def _emit_subgraph(
    builder: ModelBuilder, network: Graph | QuantizedGraph, precision: Precision, io: IODtype, size: tuple[int, int]
) -> tuple[int, int]:
    graph = float_graph(network)
    subgraph = builder.subgraph(f"{size[0]}x{size[1]}")
    emission = Emission(subgraph, network, precision, size)
    image = emission.activation(graph.input.name)
    inputs = _edge_input(emission, image, graph, io) if precision.is_integer else image
    for op in graph:
        emitter = EMITTERS.get(type(op))
        if emitter is None:
            raise ExportError(f"{type(op).__name__} '{op.name}' has no TFLite form; use an ONNX target")
        emitter(emission, op)
    result = emission.index[graph.output]
    outputs = _edge_output(emission, result, graph, io) if precision.is_integer else result
    subgraph.finish([inputs], [outputs])
    return inputs, outputs


def _edge_input(emission: Emission, image: int, graph: Graph, io: IODtype) -> int:
    if io is IODtype.INT8:
        return image
    edge = emission.image_tensor(graph.input.name, io)
    version = 1 if io is IODtype.FLOAT32 else 2
    emission.subgraph.operator(
        Builtin.QUANTIZE, version, [edge], [image], schema.QuantizeOptionsT(), Options.QuantizeOptions
    )
    return edge


def _edge_output(emission: Emission, result: int, graph: Graph, io: IODtype) -> int:
    if io is IODtype.INT8:
        return result
    edge = emission.image_tensor(graph.output, io)
    if io is IODtype.FLOAT32:
        emission.subgraph.operator(
            Builtin.DEQUANTIZE, 2, [result], [edge], schema.DequantizeOptionsT(), Options.DequantizeOptions
        )
    else:
        emission.subgraph.operator(
            Builtin.QUANTIZE, 2, [result], [edge], schema.QuantizeOptionsT(), Options.QuantizeOptions
        )
    return edge
