"""Every operator with 16-bit activations in real files: LiteRT and ONNX Runtime against exact integers."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from torch import Tensor

from edgesr.artifact import OUTPUT_NAME
from edgesr.errors import ExportError
from edgesr.export.onnx import emit_onnx
from edgesr.export.tflite import emit_tflite
from edgesr.ops import Concat, Constant, Convolution, DepthToSpace, MaxPool, Requantize, ResizeNearest, Slice
from edgesr.quantized import QuantizedGraph, QuantParams
from edgesr.runtime import litert_runner, ort_runner
from edgesr.runtime.tolerance import WIDE_TOLERANCE
from edgesr.sixteen_bits import FORMAT_REFUSALS
from edgesr.target import Format, IODtype, Layout, Precision

MOVERS = (Concat, DepthToSpace, MaxPool, ResizeNearest, Slice)
KERNELS = {"xnnpack": OpResolverType.AUTO, "reference": OpResolverType.BUILTIN_REF}


def widened(case: Any) -> QuantizedGraph:
    """The case between two Requantize: all that it computes has 16 bits, what goes in and out 8."""
    narrow: QuantizedGraph = case.quantized
    ops = [Requantize(name="wide", inputs=("x",)), *(op.with_inputs({"x": "wide"}) for op in case.ops)]
    ops.append(Requantize(name="narrow", inputs=("y",)))
    graph = replace(case.graph, ops=tuple(ops), output="narrow")
    reach = {name: t.abs().max().item() for name, t in graph.trace(case.image()).items()}
    if any(isinstance(op, MOVERS) for op in case.ops):
        reach = dict.fromkeys(reach, max(reach.values()))
    grids = {name: QuantParams.symmetric(0.9 * r) for name, r in reach.items()}
    grids |= {"x": narrow.input, "narrow": narrow.output}
    weights = {}
    for op in case.ops:
        if isinstance(op, Convolution):
            source = op.inputs[0]
            ratio = narrow.activations[source].scale / grids["wide" if source == "x" else source].scale
            weight = narrow.weights[op.name]
            weights[op.name] = replace(weight, bias=torch.round(weight.bias * ratio).to(torch.int32))
    return QuantizedGraph(graph, grids, weights)


def nhwc(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())


def traced_tflite(content: bytes, image: np.ndarray, kernels: str) -> dict[str, np.ndarray]:
    """Every tensor of a TFLite file, by name."""
    interpreter = Interpreter(
        model_content=litert_runner.with_all_outputs(content),
        num_threads=1,
        experimental_op_resolver_type=KERNELS[kernels],
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}


def traced_onnx(content: bytes, image: np.ndarray) -> dict[str, np.ndarray]:
    """Every integer tensor of an ONNX file, by name, as the graph's signed integers in NHWC."""
    content, names = ort_runner.with_all_outputs(content)
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    values = dict(zip(names, session.run(names, {"image": image}), strict=True))
    return {name: ort_runner._as_graph_tensor(value, Layout.NCHW) for name, value in values.items() if value.ndim == 4}


def assert_exact(network: QuantizedGraph, tensors: dict[str, np.ndarray], image: Tensor) -> None:
    """Every operator within its limit of exact arithmetic on the integers that the runtime fed to it."""
    tensors = tensors | {network.graph.input.name: nhwc(image)}
    for op in network.graph:
        if isinstance(op, Constant):
            tensors[op.name] = nhwc(network.activations[op.name].quantize(op.value.reshape(1, -1, 1, 1)))
            continue
        inputs = [torch.from_numpy(tensors[name].astype(np.float64)).permute(0, 3, 1, 2) for name in op.inputs]
        difference = np.abs(tensors[op.name].astype(np.float64) - nhwc(network.evaluate_integers(op, *inputs)))
        limit = WIDE_TOLERANCE.max_lsb if network.bits(op.name) == 16 else 1
        assert difference.max() <= limit, f"{op.name}: {difference.max()} LSB"
        assert network.bits(op.name) == 8 or tensors[op.name].dtype == np.int16
        if network.bits(op.name) == 16 and tensors[op.name].size > 100:
            assert len(np.unique(tensors[op.name])) > 20, "the comparison must not be one of saturated values"


def refused_by(case: Any, format_: Format) -> str | None:
    return next(
        (why for kind, why in FORMAT_REFUSALS[format_].items() if any(type(op) is kind for op in case.ops)), None
    )


@pytest.mark.parametrize("kernels", KERNELS)
def test_tflite_computes_16_bits_exactly_or_refuses(integer_case: Any, kernels: str) -> None:
    network = widened(integer_case)
    why = refused_by(integer_case, Format.TFLITE)
    if why is not None:
        with pytest.raises(ExportError, match=f"16-bit activations: {why}"):
            emit_tflite(network, Precision.A16W8, IODtype.INT8, [integer_case.size], {})
        return
    content = emit_tflite(network, Precision.A16W8, IODtype.INT8, [integer_case.size], {})
    integers, _ = integer_case.integers()
    assert_exact(network, traced_tflite(content, nhwc(integers).astype(np.int8), kernels), integers)


def test_onnx_computes_16_bits_exactly(integer_case: Any) -> None:
    network = widened(integer_case)
    content = emit_onnx(network, Precision.A16W8, IODtype.UINT8, Layout.NCHW, None, {})
    integers, _ = integer_case.integers()
    tensors = traced_onnx(content, (integers + 128).numpy().astype(np.uint8))
    assert_exact(network, tensors | {"narrow": tensors[OUTPUT_NAME]}, integers)
