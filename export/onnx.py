"""A graph as an ONNX file: FP32, FP16, or INT8 as QDQ; NCHW inside, NCHW or NHWC at the edges.

Height, width and batch are free unless a size is given. FP16 holds half weights and arithmetic between one Cast at each
edge. INT8 follows onnxruntime's QDQ form: activations unsigned (their zero points are the graph's plus 128; its
convolutions compute in integers only from unsigned to unsigned, so a signed image is converted at the edges), weights
signed per channel, biases int32; the integer tensors carry the graph's tensor names. Tensors of 16 bits are unsigned
with zero point 32768, which QNN takes and QuantizeLinear has from opset 21 on; files without any keep opset 17. A
Requantize is the DequantizeLinear of one grid and the QuantizeLinear of the other.

Float files may take and give bytes, too, as NPUs want them: a DequantizeLinear makes reals of the image, a
QuantizeLinear rounds and saturates the output, which is what an `IOContract` does to an image. Qualcomm's HTP runs both
in a half-precision file; a Cast to bytes (behind Mul, Round and Clip) it refuses ("Failed to create Cast node").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgesr.artifact import IMAGE_LEVELS, INPUT_NAME, INT8_ZERO, OUTPUT_NAME
from edgesr.errors import ExportError
from edgesr.export.onnx_ops import EMITTERS, Emission
from edgesr.graph import Graph
from edgesr.quantized import QuantizedGraph
from edgesr.target import IODtype, Layout, Precision

OPSET, OPSET_OF_16_BITS = 17, 21
TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]
ELEMENT_TYPES = {
    IODtype.FLOAT32: TensorProto.FLOAT,
    IODtype.UINT8: TensorProto.UINT8,
    IODtype.INT8: TensorProto.INT8,
}


def emit_onnx(
    network: Graph | QuantizedGraph,
    precision: Precision,
    io: IODtype,
    layout: Layout,
    size: tuple[int, int] | None,
    contract: Mapping[str, object],
    value_range: float = 1.0,
) -> bytes:
    """The bytes of a checked ONNX file for one input size (H, W), or for any where `size` is None.

    `contract` is stored as JSON in the file's metadata; the bytes of a float file stand for [0, value_range]. Raises
    `ExportError` when an operator has no ONNX form.
    """
    if precision.is_integer != isinstance(network, QuantizedGraph):
        raise ExportError(f"ONNX {precision.value} needs a {'quantized' if precision.is_integer else 'float'} graph")
    emission = Emission(network, precision)
    graph = emission.graph
    _refuse_edge_names(graph)
    _open(emission, io, layout, value_range)
    for op in graph:
        emitter = EMITTERS.get(type(op))
        if emitter is None:
            raise ExportError(f"{type(op).__name__} '{op.name}' has no ONNX form")
        emitter(emission, op)
    _close(emission, io, layout, value_range)
    opset = helper.make_opsetid("", OPSET_OF_16_BITS if emission.has_wide_tensors else OPSET)
    model = helper.make_model(
        helper.make_graph(
            emission.nodes, graph.name,
            [_edge(INPUT_NAME, io, layout, graph.input.channels, Fraction(1), size)],
            [_edge(OUTPUT_NAME, io, layout, graph.specs[graph.output].channels, graph.scale, size)],
            emission.initializers,
        ),
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name="edgesr",
    )  # fmt: skip
    helper.set_model_props(model, {"edgesr": json.dumps(contract, sort_keys=True)})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _refuse_edge_names(graph: Graph) -> None:
    for name in (INPUT_NAME, OUTPUT_NAME):
        if name in graph.specs:
            raise ExportError(f"'{name}' is the name of the file's own edge; rename that module of the network")


def _edge(
    name: str, io: IODtype, layout: Layout, channels: int, scale: Fraction, size: tuple[int, int] | None
) -> onnx.ValueInfoProto:
    free = ["height", "width"] if name == INPUT_NAME else ["output_height", "output_width"]
    spatial: list[int | str] = list(free) if size is None else [int(n * scale) for n in size]
    batch: int | str = "batch" if size is None else 1
    shape = [batch, channels, *spatial] if layout is Layout.NCHW else [batch, *spatial, channels]
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[io], shape)


def _byte_grid(emission: Emission, io: IODtype, value_range: float) -> list[str]:
    """The scale and zero point of an image in bytes in a float file."""
    names = [f"{INPUT_NAME}.scale", f"{INPUT_NAME}.zero_point"]
    if not any(x.name == names[0] for x in emission.initializers):
        zero = np.array(-INT8_ZERO, np.int8) if io is IODtype.INT8 else np.array(0, np.uint8)
        emission.initializer(names[0], np.array(value_range / IMAGE_LEVELS, np.float32))
        emission.initializer(names[1], zero)
    return names


def _open(emission: Emission, io: IODtype, layout: Layout, value_range: float) -> None:
    """Nodes from the file's image to the graph's input."""
    value, tensor = INPUT_NAME, emission.graph.input.name
    if layout is Layout.NHWC:
        value = emission.node("Transpose", [value], f"{tensor}.nchw", perm=TO_NCHW)
    if emission.quantized is None and io is not IODtype.FLOAT32:
        grid = _byte_grid(emission, io, value_range)
        value = emission.node("DequantizeLinear", [value, *grid], f"{tensor}.dequantized")
    if emission.precision is Precision.FP16:
        value = emission.node("Cast", [value], f"{tensor}.fp16", to=TensorProto.FLOAT16)
    if emission.quantized is not None:
        if io is IODtype.INT8:
            value = emission.dequantize(value, tensor, f"{tensor}.{io.value}.dequantized", signed=True)
        if io is not IODtype.UINT8:
            value = emission.quantize(value, tensor, tensor)
        value = emission.dequantize(value, tensor)
    emission.values[tensor] = value


def _close(emission: Emission, io: IODtype, layout: Layout, value_range: float) -> None:
    """Nodes from the graph's output to the file's image; the last one is renamed to be it."""
    tensor = emission.graph.output
    value = emission.values[tensor]
    if emission.quantized is not None and io is IODtype.UINT8:
        value = emission.integers[tensor]
        emission.drop_dequantize(tensor)
    elif emission.quantized is not None and io is IODtype.INT8:
        value = emission.quantize(value, tensor, f"{tensor}.{io.value}", signed=True)
    if emission.precision is Precision.FP16:
        value = emission.node("Cast", [value], f"{tensor}.fp32", to=TensorProto.FLOAT)
    if emission.quantized is None and io is not IODtype.FLOAT32:
        grid = _byte_grid(emission, io, value_range)
        value = emission.node("QuantizeLinear", [value, *grid], f"{tensor}.{io.value}")
    if layout is Layout.NHWC:
        value = emission.node("Transpose", [value], f"{tensor}.nhwc", perm=TO_NHWC)
    emission.rename(value, OUTPUT_NAME)
