"""Whole TFLite files of SPANV2: what is in them, their edges, signatures and sizes."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from torch import Tensor

from edgesr.architecture import SRModel
from edgesr.export.capture import capture
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.export.tflite import emit_tflite, is_resizable
from edgesr.graph import Graph
from edgesr.ops import ResizeNearest, TensorSpec
from edgesr.quantized import QuantizedGraph
from edgesr.target import IODtype, Precision

SIZE, OTHER_SIZES = (16, 20), ((9, 7), (1, 1), (33, 18))
KERNELS = {"xnnpack": OpResolverType.AUTO, "reference": OpResolverType.BUILTIN_REF}
FLOAT_TOLERANCE = 5e-5  # of the largest output: DESIGN section 6, for an image in [0, 1]
NATIVE = {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MUL", "CONCATENATION", "DEPTH_TO_SPACE"}
CONTRACT = {"target": "tflite", "contract": {"dtype": "int8", "sizes": [[16, 20]]}}

kernels = pytest.mark.parametrize("kernels", KERNELS)


@pytest.fixture(scope="module")
def folded(gentle_model: SRModel) -> Graph:
    graph, _ = run_folds(capture(gentle_model), NATIVE_FOLDS)
    return graph


def smooth(height: int, width: int, batch: int = 1) -> np.ndarray:
    """An image like a photograph: waves of several lengths, uint8 (N, H, W, 3)."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    phases = np.arange(3 * batch).reshape(batch, 1, 1, 3)
    waves = sum(
        np.sin(a * y[None, :, :, None] + b * x[None, :, :, None] + phases) for a, b in ((0.2, 0.1), (0.7, -0.9))
    )
    return np.rint(127.5 + 60 * np.asarray(waves)).astype(np.uint8)


def as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image / 255).permute(0, 3, 1, 2)


def nhwc(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().permute(0, 2, 3, 1).numpy())


@pytest.fixture(scope="module")
def quantized(folded: Graph, quantize_by_range: Callable[..., QuantizedGraph]) -> QuantizedGraph:
    return quantize_by_range(folded, [as_tensor(smooth(40, 40))], image_edges=True)


@pytest.fixture(scope="module")
def emit(folded: Graph, quantized: QuantizedGraph) -> Callable[..., bytes]:
    def make(precision: Precision, io: IODtype = IODtype.FLOAT32, sizes: Any = (SIZE,)) -> bytes:
        network = quantized if precision.is_integer else folded
        return emit_tflite(network, precision, io, sizes, CONTRACT)

    return make


def opened(content: bytes, kernels: str = "xnnpack") -> Interpreter:
    return Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=KERNELS[kernels])


def run(content: bytes, x: np.ndarray, kernels: str = "xnnpack") -> np.ndarray:
    interpreter = opened(content, kernels)
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(source["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], x)
    interpreter.invoke()
    y: np.ndarray = interpreter.get_tensor(result["index"])
    return y


def parsed(content: bytes) -> schema.ModelT:
    return schema.ModelT.InitFromPackedBuf(content, 0)


def operators(content: bytes, subgraph: int = 0) -> Counter[str]:
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = parsed(content)
    return Counter(names[model.operatorCodes[o.opcodeIndex].builtinCode] for o in model.subgraphs[subgraph].operators)


def test_only_native_operators(emit: Callable[..., bytes], folded: Graph) -> None:
    fp32 = operators(emit(Precision.FP32))
    assert set(fp32) == NATIVE
    assert fp32.total() == len(folded.ops), "one for each operator of the graph"
    weights = 2 * (fp32["CONV_2D"] + fp32["DEPTHWISE_CONV_2D"])
    assert operators(emit(Precision.FP16)) == fp32 + Counter(DEQUANTIZE=weights)
    assert operators(emit(Precision.INT8, IODtype.INT8)) == fp32
    assert operators(emit(Precision.INT8, IODtype.UINT8)) == fp32 + Counter(QUANTIZE=2)
    assert operators(emit(Precision.INT8, IODtype.FLOAT32)) == fp32 + Counter(QUANTIZE=1, DEQUANTIZE=1)


@pytest.mark.parametrize("size", [SIZE, *OTHER_SIZES])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
@kernels
def test_float_files_at_every_size(
    emit: Callable[..., bytes], folded: Graph, precision: Precision, size: tuple[int, int], kernels: str
) -> None:
    image = smooth(*size)
    graph = folded
    if precision is Precision.FP16:
        graph = folded.with_parameters({key: value.half().double() for key, value in folded.parameters().items()})
    expected = nhwc(graph.execute(as_tensor(image)))
    found = run(emit(precision), (image / 255).astype(np.float32), kernels)
    assert found.shape == (1, 2 * size[0], 2 * size[1], 3)
    assert np.abs(found - expected).max() <= FLOAT_TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("size", [SIZE, *OTHER_SIZES])
@kernels
def test_int8_files_at_every_size(
    emit: Callable[..., bytes], quantized: QuantizedGraph, size: tuple[int, int], kernels: str
) -> None:
    """End to end single roundings may grow; on average they do not (operator by operator: see test_tflite_ops)."""
    image = smooth(*size)
    expected = nhwc(quantized.output.quantize(quantized.execute(as_tensor(image))))
    found = run(emit(Precision.INT8, IODtype.INT8), (image ^ 0x80).view(np.int8), kernels)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() <= 0.15
    assert len(np.unique(found)) > 1


@kernels
def test_every_image_type_gives_the_same_image(emit: Callable[..., bytes], kernels: str) -> None:
    image = smooth(*SIZE)
    as_int8 = run(emit(Precision.INT8, IODtype.INT8), (image ^ 0x80).view(np.int8), kernels)
    as_uint8 = run(emit(Precision.INT8, IODtype.UINT8), image, kernels)
    as_float = run(emit(Precision.INT8, IODtype.FLOAT32), (image / 255).astype(np.float32), kernels)
    assert (as_int8.dtype, as_uint8.dtype, as_float.dtype) == (np.int8, np.uint8, np.float32)
    assert np.array_equal(as_int8.view(np.uint8) ^ 0x80, as_uint8), "int8 bytes are the image XOR 0x80"
    assert np.abs(as_float - as_uint8 / 255).max() <= 1e-6
    assert len(np.unique(as_uint8)) > 50


@pytest.mark.parametrize("io", IODtype)
def test_the_edges_say_what_the_bytes_stand_for(emit: Callable[..., bytes], io: IODtype) -> None:
    interpreter = opened(emit(Precision.INT8, io))
    for detail in (*interpreter.get_input_details(), *interpreter.get_output_details()):
        assert np.dtype(detail["dtype"]).name == io.value
        scale, zero_point = detail["quantization"]
        if io is not IODtype.FLOAT32:
            assert scale == np.float32(1 / 255)
            assert zero_point == (-128 if io is IODtype.INT8 else 0)


SIZES = ((16, 20), (24, 12), (9, 9), (40, 8))


@pytest.mark.parametrize("precision", Precision)
def test_sizes_are_signatures_that_share_weights(emit: Callable[..., bytes], precision: Precision) -> None:
    io = IODtype.UINT8 if precision.is_integer else IODtype.FLOAT32
    content = emit(precision, io, SIZES)
    interpreter = opened(content)
    assert set(interpreter.get_signature_list()) == {"serving_default", "24x12", "9x9", "40x8"}
    used = [{t.buffer for t in g.tensors if t.buffer} for g in parsed(content).subgraphs]
    assert len(used) == 4 and used[0] and all(u == used[0] for u in used)
    for key, size in zip(("serving_default", "24x12", "9x9", "40x8"), SIZES, strict=True):
        image = smooth(*size)
        data = image if precision.is_integer else (image / 255).astype(np.float32)
        output = interpreter.get_signature_runner(key)(image=data)["output"]
        assert output.shape == (1, 2 * size[0], 2 * size[1], 3)
        assert np.array_equal(output, run(emit(precision, io), data)), "as the file of one size, resized"


def test_another_size_costs_less_than_a_tenth_of_the_weights(official_spanv2: Graph) -> None:
    graph, _ = run_folds(official_spanv2, NATIVE_FOLDS)
    one, two = (len(emit_tflite(graph, Precision.FP32, IODtype.FLOAT32, s, {})) for s in (SIZES[:1], SIZES[:2]))
    assert one < two < 1.1 * one


def test_no_bytes_are_stored_twice(emit: Callable[..., bytes]) -> None:
    for precision in Precision:
        buffers = [b.data.tobytes() for b in parsed(emit(precision, sizes=SIZES)).buffers if b.data is not None]
        assert len(buffers) > 10
        assert len(set(buffers)) == len(buffers)


def test_metadata_holds_the_contract(emit: Callable[..., bytes]) -> None:
    model = parsed(emit(Precision.FP32))
    entries = {entry.name: model.buffers[entry.buffer].data.tobytes() for entry in model.metadata}
    assert json.loads(entries[b"edgesr"]) == CONTRACT
    assert entries[b"min_runtime_version"].startswith(b"2.")
    assert model.version == 3 and model.description == b"edgesr"


def test_tensors_are_named_like_the_graph(emit: Callable[..., bytes], folded: Graph) -> None:
    for precision, io in ((Precision.FP32, IODtype.FLOAT32), (Precision.INT8, IODtype.UINT8)):
        names = [tensor.name.decode() for tensor in parsed(emit(precision, io)).subgraphs[0].tensors]
        assert set(folded.specs) <= set(names)
        assert len(set(names)) == len(names)


def test_the_same_network_gives_the_same_bytes(emit: Callable[..., bytes]) -> None:
    assert emit(Precision.INT8, sizes=SIZES) == emit(Precision.INT8, sizes=SIZES)


def test_xnnpack_takes_every_operator(emit: Callable[..., bytes]) -> None:
    """FACTS: a lone uint8 QUANTIZE is not XNNPACK's, so int8 I/O, the default, must run whole."""
    for precision, io in ((Precision.FP32, IODtype.FLOAT32), (Precision.INT8, IODtype.INT8)):
        interpreter = opened(emit(precision, io))
        interpreter.allocate_tensors()
        kinds = [detail["op_name"] for detail in interpreter._get_ops_details()]
        assert kinds.count("DELEGATE") == 1 and kinds[-1] == "DELEGATE"
        assert len(kinds) == operators(emit(precision, io)).total() + 1


def test_files_that_store_a_size_run_by_signature() -> None:
    graph = Graph("test", TensorSpec("x", 3), (ResizeNearest(name="y", inputs=("x",), factor=2),), "y")
    assert not is_resizable(graph)
    interpreter = opened(emit_tflite(graph, Precision.FP32, IODtype.FLOAT32, ((4, 6), (5, 3)), {}))
    for key, size in (("serving_default", (4, 6)), ("5x3", (5, 3))):
        image = smooth(*size).astype(np.float32)
        output = interpreter.get_signature_runner(key)(image=image)["output"]
        assert np.array_equal(output, image.repeat(2, axis=1).repeat(2, axis=2))


def test_resizable_networks_say_so(folded: Graph) -> None:
    assert is_resizable(folded)
