"""Tables and compilers about the same files: wherever both know, they say the same of every operator.

Three kinds of files: edgesr's own, another converter's of the same network, and a network with SiLU, LeakyReLU,
resizes and a shuffle of rank 6. An operator that a table or a compiler knows nothing of is no claim.
"""

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgesr.api.auditing import NpuAudit, audit
from edgesr.api.peer_output import without_noise
from edgesr.errors import MissingBackendError
from edgesr.export.capture import capture
from edgesr.export.folds.host_shuffle import without_shuffle
from edgesr.export.npu.litert_aot import SDK_VARIABLE
from edgesr.export.npu.placement import Place
from edgesr.export.npu.unfolded import emit_unfolded
from edgesr.export.onnx import emit_onnx
from edgesr.export.peers.litert_torch import LiteRTTorch
from edgesr.export.peers.peer import tool_of
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.export.tflite import emit_tflite
from edgesr.graph import Graph
from edgesr.images import load_rgb
from edgesr.model.registry import load_model
from edgesr.progress import silent
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.quant.calibration import calibrate
from edgesr.quant.ranges import RangeRule, choose_ranges
from edgesr.quant.weights import quantize_weights
from edgesr.quant.widths import widen, widenable
from edgesr.quantized import QuantizedGraph
from edgesr.target import IODtype, Layout, Precision

pytestmark = pytest.mark.emulator
needs_vela = pytest.mark.skipif(
    importlib.util.find_spec("ethosu") is None, reason='Vela is not installed: pip install "edgesr[ethos-u]"'
)
needs_qnn = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_qnn") is None, reason='QNN is not installed: pip install "edgesr[qnn]"'
)
ETHOS = ("ethos-u55-256", "ethos-u65-512", "ethos-u85-1024")
ELITE = "snapdragon-8-elite"
SIZE = (64, 64)


@pytest.fixture(autouse=True)
def _logs_go_with_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def agreeing(path: Path, npu: str) -> NpuAudit:
    """The audit of a file, in which no operator is on the NPU by one source and on the CPU by the other."""
    (found,) = audit(path, [npu]).subjects[0].audits
    assert found.compiled is not None, (found.failure, found.notes)
    pairs = list(zip(found.table.operators, found.compiled.operators, strict=True))
    assert all(told.name.endswith(fact.name) and told.kind == fact.kind for fact, told in pairs)
    against = [
        f"{fact.kind} '{fact.name}': {fact.place} by table ({fact.reason}), {told.place} compiled ({told.reason})"
        for fact, told in pairs
        if Place.UNKNOWN not in (fact.place, told.place) and fact.place is not told.place
    ]
    assert against == []
    return found


def places(found: NpuAudit) -> tuple[int, int, int | None]:
    """What the compiler says: operators on the NPU and on the CPU, and partitions."""
    assert found.compiled is not None
    return found.compiled.count(Place.NPU), found.compiled.count(Place.CPU), found.compiled.partitions


@pytest.fixture(scope="module")
def graph() -> Graph:
    """The bundled SPANV2, folded."""
    return run_folds(capture(load_model("spanv2_x4")), NATIVE_FOLDS)[0]


@pytest.fixture(scope="module")
def integers(graph: Graph) -> dict[Precision, QuantizedGraph]:
    """It, quantized with 8-bit and with 16-bit activations."""
    calibration = calibrate(graph, [load_rgb(path) for path in builtin_calibration_paths()[:1]])
    activations = choose_ranges(graph, calibration, RangeRule())
    narrow = QuantizedGraph(graph, activations, quantize_weights(graph, activations))
    return {Precision.INT8: narrow, Precision.A16W8: widen(narrow, widenable(graph, {}).groups, calibration, {})}


@needs_vela
@pytest.mark.parametrize("npu", ETHOS)
def test_our_tflite_files_on_ethos_u(npu: str, integers: dict[Precision, QuantizedGraph], tmp_path: Path) -> None:
    network, path = integers[Precision.INT8], tmp_path / "net.tflite"
    path.write_bytes(emit_tflite(without_shuffle(network), Precision.INT8, IODtype.INT8, [SIZE], {}))
    found = agreeing(path, npu)
    assert found.table.is_whole and found.decisive.is_whole and found.table.partitions == places(found)[2] == 1
    assert audit(path, [npu]).on_cpu == ()
    path.write_bytes(emit_tflite(network, Precision.INT8, IODtype.INT8, [SIZE], {}))
    found = agreeing(path, npu)
    left = [(op.kind, op.remedy) for op in found.decisive.operators if op.place is Place.CPU]
    assert [kind for kind, _ in left] == ["DEPTH_TO_SPACE"] and "shuffle on the host" in left[0][1]
    assert audit(path, [npu]).on_cpu == ((str(path), npu, 1),)


@needs_qnn
@pytest.mark.parametrize("precision", [Precision.INT8, Precision.A16W8, Precision.FP16], ids=lambda x: x.value)
def test_our_onnx_files_on_the_htp(
    precision: Precision, graph: Graph, integers: dict[Precision, QuantizedGraph], tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    network: Any = integers.get(precision, graph)
    path.write_bytes(emit_onnx(network, precision, IODtype.UINT8, Layout.NHWC, SIZE, {}))
    found = agreeing(path, ELITE)
    assert found.table.is_whole and found.decisive.is_whole and found.table.partitions == places(found)[2] == 1
    assert "SM8750" in found.decisive.source


def test_tflite_files_on_the_htp(
    real_sdk: Path, integers: dict[Precision, QuantizedGraph], foreign_int8_tflite: bytes, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """LiteRT's compiler joins no shuffle of rank 6, as ONNX Runtime does."""
    monkeypatch.setenv(SDK_VARIABLE, str(real_sdk))
    path, network = tmp_path / "net.tflite", integers[Precision.INT8]
    for content in (
        emit_tflite(network, Precision.INT8, IODtype.INT8, [SIZE], {}),
        emit_unfolded(network, SIZE),
    ):
        path.write_bytes(content)
        found = agreeing(path, ELITE)
        assert found.table.is_whole and found.decisive.is_whole
    path.write_bytes(foreign_int8_tflite)
    found = agreeing(path, ELITE)
    assert places(found) == (4, 3, 1) and found.table.count(Place.CPU) == 3


@needs_qnn
def test_a_file_of_free_size_is_no_failure(integers: dict[Precision, QuantizedGraph], tmp_path: Path) -> None:
    path = tmp_path / "free.onnx"
    path.write_bytes(emit_onnx(integers[Precision.INT8], Precision.INT8, IODtype.UINT8, Layout.NHWC, None, {}))
    report = audit(path, [ELITE])
    (found,) = report.subjects[0].audits
    assert found.compiled is None and not found.failure and report.on_cpu == ()
    assert found.notes == (
        "not compiled: QNN compiles fixed sizes alone, this file's is free; fix it by edgesr export --size HxW",
    )


@needs_vela
@pytest.mark.parametrize("npu", ETHOS)
def test_the_shuffle_in_pieces_of_another_converter(
    npu: str, integers: dict[Precision, QuantizedGraph], tmp_path: Path
) -> None:
    path = tmp_path / "unfolded.tflite"
    path.write_bytes(emit_unfolded(integers[Precision.INT8], SIZE))
    found = agreeing(path, npu)
    kinds = [op.kind for op in found.table.operators]
    assert (kinds.count("TRANSPOSE"), kinds.count("RESHAPE")) == (4, 3) and found.decisive.is_whole


@pytest.fixture(scope="module")
def litert_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """litert-torch's float file, and ai-edge-quantizer's of it with its edges in float."""
    try:
        tool_of(LiteRTTorch())
    except MissingBackendError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("litert-torch")
    image = load_rgb(builtin_calibration_paths()[0])[: SIZE[0], : SIZE[1]]
    with without_noise(silent):
        LiteRTTorch().quantize(load_model("spanv2_x4"), [image], [SIZE], folder, silent)
    return folder


@needs_vela
@pytest.mark.slow
@pytest.mark.parametrize("npu", ETHOS)
def test_litert_torch_files(npu: str, litert_torch: Path) -> None:
    found = agreeing(litert_torch / "float-64x64.tflite", npu)
    assert found.decisive.count(Place.CPU) == len(found.table.operators)
    found = agreeing(litert_torch / "int8-64x64.tflite", npu)
    left = [(op.kind, op.reason) for op in found.decisive.operators if op.place is Place.CPU]
    assert [kind for kind, _ in left] == ["QUANTIZE", "DEPTHWISE_CONV_2D", "DEQUANTIZE"]
    assert left[1][1].startswith("the whole file fails, not itself alone: ")
    doubted = [op.kind for op in found.table.operators if op.place is Place.UNKNOWN]
    assert doubted == ["DEPTHWISE_CONV_2D"], "alone such an operator compiles: no table can know"


@needs_vela
@pytest.mark.parametrize("npu", ETHOS)
def test_a_foreign_network_on_ethos_u(
    npu: str, foreign_int8_tflite: bytes, foreign_tflite: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(foreign_int8_tflite)
    found = agreeing(path, npu)
    assert [op.kind for op in found.table.operators if op.place is not Place.NPU] == ["RESIZE_BILINEAR"]
    assert places(found) == (6, 1, 2) and found.table.partitions == 2
    path.write_bytes(foreign_tflite)
    assert places(agreeing(path, npu)) == (0, 7, 0)


@needs_vela
@pytest.mark.parametrize("npu", ETHOS)
def test_an_operator_that_fails_a_whole_file_is_found_out(
    npu: str, quantize_by_range: Callable[..., QuantizedGraph], tmp_path: Path
) -> None:
    """A depthwise convolution with a multiplier, over several channels, before a CONCATENATION."""
    path = tmp_path / "multiplier.tflite"
    path.write_bytes(multiplied(quantize_by_range))
    found = agreeing(path, npu)
    left = [op for op in found.decisive.operators if op.place is not Place.NPU]
    assert [op.name for op in left] == ["wide"], "the plain depthwise convolution stays on the NPU"
    assert left[0].reason.startswith("the whole file fails, not itself alone: ") and "densify" in left[0].remedy
    assert {op.name: op.place for op in found.table.operators}["wide"] is Place.UNKNOWN


def multiplied(quantize_by_range: Callable[..., QuantizedGraph]) -> bytes:
    """Eight channels times two beside a convolution, joined, behind a plain depthwise convolution."""
    from edgesr.ops import Concat, Conv2d, DepthwiseConv2d, TensorSpec

    torch.manual_seed(0)
    ops = (
        DepthwiseConv2d(name="plain", inputs=("x",), weight=torch.randn(8, 1, 3, 3).double(), bias=None, channels=8,
                        padding=(1, 1)),
        DepthwiseConv2d(name="wide", inputs=("plain",), weight=torch.randn(16, 1, 3, 3).double(), bias=None,
                        channels=8, padding=(1, 1)),
        Conv2d(name="side", inputs=("plain",), weight=torch.randn(8, 8, 1, 1).double(), bias=None),
        Concat(name="both", inputs=("side", "wide")),
        Conv2d(name="y", inputs=("both",), weight=torch.randn(8, 24, 1, 1).double(), bias=None),
    )  # fmt: skip
    network = quantize_by_range(Graph("multiplier", TensorSpec("x", 8), ops, "y"), [torch.rand(1, 8, 16, 16).double()])
    return emit_tflite(network, Precision.INT8, IODtype.INT8, [(16, 16)], {})


class ForeignOnnx:
    """A chain of operators in QDQ of one type, or in reals; not as edgesr writes it."""

    def __init__(self, dtype: str) -> None:
        self.element = getattr(TensorProto, {"float32": "FLOAT"}.get(dtype, dtype.upper()))
        self.is_quantized, self.nodes, self.constants = dtype != "float32", list[Any](), list[Any]()
        if self.is_quantized:
            self.constant("scale", np.float32(1 / 64))
            self.constant("zero", np.array(1 << (8 * np.dtype(dtype).itemsize - 1), dtype))

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def operator(self, kind: str, inputs: list[str], output: str, *constants: str, **attributes: Any) -> str:
        if not self.is_quantized:
            return self.node(kind, [*inputs, *constants], output, **attributes)
        reals = [self.node("DequantizeLinear", [x, "scale", "zero"], f"{output}.{x}") for x in inputs]
        real = self.node(kind, [*reals, *constants], f"{output}.real", **attributes)
        return self.node("QuantizeLinear", [real, "scale", "zero"], output)

    def weights(self, *shape: int) -> str:
        generator = np.random.default_rng(0)
        if not self.is_quantized:
            return self.constant("w", generator.normal(size=shape).astype(np.float32))
        self.constant("w.integers", generator.integers(0, 256, shape).astype(np.uint8))
        self.constant("w.scale", np.float32(0.01))
        self.constant("w.zero", np.uint8(128))
        return self.node("DequantizeLinear", ["w.integers", "w.scale", "w.zero"], "w")

    def save(self, path: Path, shape: list[int]) -> Path:
        edges = [
            helper.make_tensor_value_info(name, self.element, size)
            for name, size in (("image", [1, 3, 8, 8]), ("output", shape))
        ]
        graph = helper.make_graph(self.nodes, "foreign", edges[:1], edges[1:], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
        return path


def foreign_onnx(dtype: str, path: Path, between: bool) -> Path:
    """SiLU, LeakyReLU, two resizes and a shuffle of rank 6, `between` whose two halves another operator may stand."""
    net = ForeignOnnx(dtype)
    net.operator("Conv", ["image"], "conv", net.weights(12, 3, 3, 3), pads=[1, 1, 1, 1])
    net.operator("Sigmoid", ["conv"], "logistic")
    net.operator("Mul", ["conv", "logistic"], "silu")
    net.operator("LeakyRelu", ["silu"], "leaky", alpha=0.1)
    twice, thrice = (net.constant(f"x{n}", np.array([1, 1, n, n], np.float32)) for n in (2, 3))
    net.operator("Resize", ["leaky"], "nearest", "", twice, mode="nearest",
                 coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    net.operator("Resize", ["nearest"], "linear", "", thrice, mode="linear",
                 coordinate_transformation_mode="half_pixel")  # fmt: skip
    net.operator("Reshape", ["linear"], "split", net.constant("six", np.array([1, 3, 2, 2, 48, 48], np.int64)))
    net.operator("Transpose", ["split"], "turned", perm=[0, 1, 4, 2, 5, 3])
    last = net.operator("Relu", ["turned"], "between") if between else "turned"
    net.operator("Reshape", [last], "output", net.constant("four", np.array([1, 3, 96, 96], np.int64)))
    return net.save(path, [1, 3, 96, 96])


@needs_qnn
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_foreign_network_on_the_htp(dtype: str, tmp_path: Path) -> None:
    found = agreeing(foreign_onnx(dtype, tmp_path / "joined.onnx", between=False), ELITE)
    assert places(found) == (9, 0, 1), "ONNX Runtime joins the shuffle into rank 5"
    assert [op.name for op in found.table.operators if op.place is Place.UNKNOWN] == ["split", "turned", "output"]
    found = agreeing(foreign_onnx(dtype, tmp_path / "apart.onnx", between=True), ELITE)
    assert places(found) == (6, 4, 1), "nothing joins the halves: rank 6 is refused"
    assert [op.name for op in found.table.operators if op.place is Place.CPU] == ["between"]
