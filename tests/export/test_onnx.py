"""Whole ONNX files of SPANV2: what is in them, their edges, and an independent witness."""

import json
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import onnxsim
import pytest
import torch
from torch import Tensor

from edgesr.architecture import SRModel
from edgesr.artifact import IOContract
from edgesr.export.capture import capture
from edgesr.export.onnx import emit_onnx
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.graph import Graph
from edgesr.ops import Convolution
from edgesr.quantized import QuantizedGraph
from edgesr.target import IODtype, Layout, Precision

SIZES = ((16, 20), (9, 7), (1, 1), (33, 18))
FLOAT_TOLERANCE = 5e-5  # DESIGN section 6, for an image in [0, 1]
HALF_TOLERANCE = 2.5e-2  # the same
WITNESS_TOLERANCE = 1e-5  # two float32 conversions of one network
CONTRACT = {"target": "onnx", "contract": {"dtype": "uint8", "layout": "nhwc"}}

layouts = pytest.mark.parametrize("layout", Layout)


@pytest.fixture(scope="module")
def folded(gentle_model: SRModel) -> Graph:
    graph, _ = run_folds(capture(gentle_model), NATIVE_FOLDS)
    return graph


def smooth(height: int, width: int, batch: int = 1) -> np.ndarray:
    """An image like a photograph: waves of several lengths, uint8 (N, H, W, 3)."""
    y, x = (axis[None, :, :, None] for axis in np.mgrid[:height, :width].astype(np.float64))
    phases = np.arange(3 * batch).reshape(batch, 1, 1, 3)
    waves = np.sin(0.2 * y + 0.1 * x + phases) + np.sin(0.7 * y - 0.9 * x + phases)
    return np.asarray(np.rint(127.5 + 60 * waves), np.uint8)


def as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image / 255).permute(0, 3, 1, 2)


def arranged(x: Tensor, layout: Layout) -> np.ndarray:
    return np.ascontiguousarray((x.permute(0, 2, 3, 1) if layout is Layout.NHWC else x).detach().numpy())


@pytest.fixture(scope="module")
def quantized(folded: Graph, quantize_by_range: Callable[..., QuantizedGraph]) -> QuantizedGraph:
    return quantize_by_range(folded, [as_tensor(smooth(40, 40))], image_edges=True)


Emit = Callable[..., bytes]


@pytest.fixture(scope="module")
def emit(folded: Graph, quantized: QuantizedGraph) -> Emit:
    def make(
        precision: Precision, layout: Layout, io: IODtype = IODtype.FLOAT32, size: tuple[int, int] | None = None
    ) -> bytes:
        network = quantized if precision.is_integer else folded
        return emit_onnx(network, precision, io, layout, size, CONTRACT)

    return make


def opened(content: bytes | str, optimized: Path | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(content: bytes, x: np.ndarray) -> np.ndarray:
    y: np.ndarray = opened(content).run(["output"], {"image": x})[0]
    return y


def kinds(content: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(content).graph.node)


@pytest.mark.parametrize("fixed", [False, True], ids=["any-size", "one-size"])
@pytest.mark.parametrize(("precision", "limit"), [(Precision.FP32, FLOAT_TOLERANCE), (Precision.FP16, HALF_TOLERANCE)])
@layouts
def test_float_files(
    emit: Emit, folded: Graph, precision: Precision, limit: float, layout: Layout, fixed: bool
) -> None:
    for size in SIZES:
        image = as_tensor(smooth(*size, batch=1 if fixed else 2))
        expected = arranged(folded.execute(image), layout)
        found = run(emit(precision, layout, size=size if fixed else None), arranged(image.float(), layout))
        assert found.shape == expected.shape and found.dtype == np.float32
        assert np.abs(found - expected).max() <= limit


@pytest.mark.parametrize("io", [IODtype.UINT8, IODtype.INT8])
@pytest.mark.parametrize(("precision", "limit"), [(Precision.FP32, FLOAT_TOLERANCE), (Precision.FP16, HALF_TOLERANCE)])
@layouts
def test_float_files_that_take_and_give_bytes(
    folded: Graph, precision: Precision, limit: float, io: IODtype, layout: Layout
) -> None:
    """The bytes are those that an I/O contract makes of the float image, saturated, in a range of any size."""
    value_range = 3.0
    contract = IOContract(io, layout, 3, 2, value_range, (), any_size=True)
    image = smooth(9, 7)
    expected = folded.execute(as_tensor(image) * value_range).permute(0, 2, 3, 1).numpy()
    content = emit_onnx(folded, precision, io, layout, None, CONTRACT, value_range)
    found = run(content, contract.encode(image * (value_range / 255)))
    assert found.dtype == (np.uint8 if io is IODtype.UINT8 else np.int8)
    difference = np.abs(contract.decode(found) - np.clip(expected, 0, value_range)).max()
    assert difference <= value_range * (limit + 0.5 / 255) + 1e-6
    assert np.ptp(found.astype(int)) > 100


@pytest.mark.parametrize("io", IODtype)
@layouts
def test_int8_files(emit: Emit, quantized: QuantizedGraph, io: IODtype, layout: Layout) -> None:
    """End to end single roundings may grow; on average they do not (operator by operator: see test_onnx_ops)."""
    content = emit(Precision.INT8, layout, io)
    for size in SIZES:
        image = smooth(*size, batch=2)
        data = arranged(torch.from_numpy(image).permute(0, 3, 1, 2), layout)
        data = {
            IODtype.UINT8: data,
            IODtype.INT8: (data ^ 0x80).view(np.int8),
            IODtype.FLOAT32: (data / 255).astype(np.float32),
        }[io]
        expected = arranged(quantized.output.quantize(quantized.execute(as_tensor(image))), layout) + 128
        found = run(content, data)
        assert found.dtype.name == io.value and found.shape == expected.shape
        found = found * 255 if io is IODtype.FLOAT32 else found.astype(np.float64) + (128 if io is IODtype.INT8 else 0)
        assert np.abs(found - expected).mean() <= 0.15


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
@pytest.mark.parametrize("size", [None, (16, 20)], ids=["any-size", "one-size"])
@layouts
def test_onnxsim_removes_no_node(
    emit: Emit, precision: Precision, size: tuple[int, int] | None, layout: Layout, folded: Graph
) -> None:
    content = emit(precision, layout, size=size)
    simplified, valid = onnxsim.simplify(onnx.load_from_string(content))
    assert valid
    assert Counter(node.op_type for node in simplified.graph.node) == kinds(content)
    edges = 2 * ((precision is Precision.FP16) + (layout is Layout.NHWC))
    activations = 5  # ReLU is a node of its own in ONNX
    assert kinds(content).total() == len(folded.ops) + activations + edges


@pytest.mark.parametrize("io", IODtype)
@layouts
def test_every_file_passes_the_full_check(emit: Emit, io: IODtype, layout: Layout) -> None:
    precisions = Precision if io is IODtype.FLOAT32 else (Precision.INT8,)
    for precision in precisions:
        for size in (None, (16, 20)):
            model = onnx.load_from_string(emit(precision, layout, io, size))
            onnx.checker.check_model(model, full_check=True)
            assert [x.name for x in (*model.graph.input, *model.graph.output)] == ["image", "output"]


def test_free_sizes_have_names(emit: Emit) -> None:
    graph = onnx.load_from_string(emit(Precision.FP32, Layout.NHWC)).graph
    shapes = [
        [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] for x in (graph.input[0], graph.output[0])
    ]
    assert shapes == [["batch", "height", "width", 3], ["batch", "output_height", "output_width", 3]]
    graph = onnx.load_from_string(emit(Precision.FP32, Layout.NCHW, size=(5, 6))).graph
    shapes = [
        [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] for x in (graph.input[0], graph.output[0])
    ]
    assert shapes == [[1, 3, 5, 6], [1, 3, 10, 12]]


@pytest.mark.parametrize("precision", Precision)
def test_metadata_holds_the_contract(emit: Emit, precision: Precision) -> None:
    model = onnx.load_from_string(emit(precision, Layout.NCHW))
    assert {p.key: json.loads(p.value) for p in model.metadata_props} == {"edgesr": CONTRACT}
    assert model.producer_name == "edgesr"


def test_half_files_hold_half_weights(emit: Emit, folded: Graph) -> None:
    sizes = {p: len(emit(p, Layout.NCHW)) for p in (Precision.FP32, Precision.FP16)}
    assert sizes[Precision.FP32] - sizes[Precision.FP16] > 1.9 * folded.parameter_count()
    graph = onnx.load_from_string(emit(Precision.FP16, Layout.NCHW)).graph
    assert {x.data_type for x in graph.initializer} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("io", IODtype)
@layouts
def test_onnxruntime_computes_in_integers(
    emit: Emit, quantized: QuantizedGraph, io: IODtype, layout: Layout, tmp_path: Path
) -> None:
    """After its optimizations every convolution is QLinearConv: nothing falls back to float arithmetic."""
    opened(emit(Precision.INT8, layout, io), tmp_path / "optimized.onnx")
    found = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert found["QLinearConv"] == sum(isinstance(op, Convolution) for op in quantized.graph)
    assert (found["QLinearAdd"], found["QLinearMul"], found["QLinearConcat"], found["DepthToSpace"]) == (1, 1, 1, 1)
    assert not set(found) & {"Conv", "FusedConv", "Relu", "Add", "Mul", "Concat"}
    edges = {IODtype.UINT8: 0, IODtype.FLOAT32: 1, IODtype.INT8: 2}[io]
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (edges, edges)


def test_uint8_int8_and_float_images_give_the_same_image(emit: Emit) -> None:
    image = smooth(16, 20)
    outputs = {io: emit(Precision.INT8, Layout.NHWC, io) for io in IODtype}
    as_uint8 = run(outputs[IODtype.UINT8], image)
    as_int8 = run(outputs[IODtype.INT8], (image ^ 0x80).view(np.int8))
    as_float = run(outputs[IODtype.FLOAT32], (image / 255).astype(np.float32))
    assert np.array_equal(as_int8.view(np.uint8) ^ 0x80, as_uint8)
    assert np.abs(as_float - as_uint8 / 255).max() <= 1e-6
    assert len(np.unique(as_uint8)) > 50


def exported_by_torch(model: SRModel, path: Path) -> bytes:
    """The general way: torch's own exporter, which knows nothing of our graph, folds and emitter."""
    sizes = {2: torch.export.Dim("height", min=2), 3: torch.export.Dim("width", min=2)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's and onnxscript's own deprecations
        program = torch.onnx.export(
            model.module, (torch.zeros(1, 3, 8, 8),), dynamo=True, dynamic_shapes=(sizes,), verbose=False,
            input_names=["image"], output_names=["output"],
        )  # fmt: skip
    assert program is not None
    program.save(path)
    return path.read_bytes()


def shuffle_order(content: bytes) -> bytes:
    (node,) = [n for n in onnx.load_from_string(content).graph.node if n.op_type == "DepthToSpace"]
    return bytes(next(a.s for a in node.attribute if a.name == "mode"))


def test_torchs_own_exporter_agrees(emit: Emit, gentle_model: SRModel, tmp_path: Path) -> None:
    witness = exported_by_torch(gentle_model, tmp_path / "witness.onnx")
    content = emit(Precision.FP32, Layout.NCHW)
    assert (shuffle_order(witness), shuffle_order(content)) == (b"CRD", b"DCR"), "the witness must be another graph"
    for size in ((16, 20), (9, 7), (33, 18)):
        image = as_tensor(smooth(*size)).float().numpy()
        assert np.abs(run(witness, image) - run(content, image)).max() <= WITNESS_TOLERANCE


def test_the_witness_would_see_a_wrong_weight(emit: Emit, folded: Graph, gentle_model: SRModel, tmp_path: Path) -> None:
    weights = dict(folded.parameters())
    key = ("block_1.c2.conv", "weight")
    weights[key] = weights[key].flip(0)
    wrong: Any = emit_onnx(folded.with_parameters(weights), Precision.FP32, IODtype.FLOAT32, Layout.NCHW, None, {})
    witness = exported_by_torch(gentle_model, tmp_path / "witness.onnx")
    image = as_tensor(smooth(16, 20)).float().numpy()
    assert np.abs(run(witness, image) - run(wrong, image)).max() > 100 * WITNESS_TOLERANCE
