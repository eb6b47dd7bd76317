from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError
from edgesr.export.onnx import emit_onnx
from edgesr.graph import Graph
from edgesr.ops import Conv2d, Convolution, TensorSpec
from edgesr.quantized import IMAGE_GRID, QuantizedGraph, QuantizedWeight, QuantParams
from edgesr.runtime.ort_runner import OrtRunner, with_all_outputs
from edgesr.target import IODtype, Layout, Precision

layouts = pytest.mark.parametrize("layout", Layout)


def photograph(height: int, width: int, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3)) / 255


def optimized(content: bytes, path: Path) -> Counter[str]:
    """The operators that ONNX Runtime really runs."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.optimized_model_filepath = str(path)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("io", IODtype)
@layouts
def test_the_traced_copy_runs_the_integer_kernels_of_the_file(
    io: IODtype, layout: Layout, export: Any, tmp_path: Path
) -> None:
    """Without this, operators would be compared that the deployed file does not run."""
    exported = export("onnx-int8", io, layout)
    content = exported.path.read_bytes()
    file = optimized(content, tmp_path / "file.onnx")
    copy = optimized(with_all_outputs(content)[0], tmp_path / "copy.onnx")
    convolutions = sum(isinstance(op, Convolution) for op in exported.network.graph)
    assert file["QLinearConv"] == copy["QLinearConv"] == convolutions == 10
    assert copy == file
    assert not set(copy) & {"Conv", "FusedConv", "Relu", "Add", "Mul", "Concat"}


@layouts
def test_the_traced_copy_of_a_float_file_fuses_what_the_file_fuses(layout: Layout, export: Any, tmp_path: Path) -> None:
    content = export("onnx-fp32", layout=layout).path.read_bytes()
    file = optimized(content, tmp_path / "file.onnx")
    assert file["FusedConv"] == 5 and not file["Relu"]
    assert optimized(with_all_outputs(content)[0], tmp_path / "copy.onnx") == file


@pytest.mark.parametrize("io", IODtype)
@layouts
def test_int8_traces_are_the_graphs_integers(io: IODtype, layout: Layout, export: Any) -> None:
    exported = export("onnx-int8", io, layout)
    runner = OrtRunner(exported.path, exported.contract)
    image = photograph(9, 7)
    trace = dict(runner.trace(image))
    graph = exported.network.graph
    shown = {name: value for name, value in trace.items() if name in graph.specs}
    assert {value.dtype for value in shown.values()} == {np.dtype(np.int8)}
    expected = set(graph.specs) - ({"input"} if io is IODtype.UINT8 else set())
    assert set(shown) | ({"pixel_shuffle"} if "output" in trace else set()) == expected
    if io is not IODtype.UINT8:
        assert np.array_equal(shown["input"], np.rint(image * 255) - 128)
    last = shown.get("pixel_shuffle", trace["output"])
    assert np.array_equal(last, np.rint(runner.run(image) * 255) - 128)


@pytest.mark.parametrize("name", ["onnx-fp32", "onnx-fp16"])
@layouts
def test_float_traces_are_the_graphs_tensors(name: str, layout: Layout, export: Any) -> None:
    exported = export(name, layout=layout)
    runner = OrtRunner(exported.path, exported.contract)
    image = photograph(9, 7)
    trace = dict(runner.trace(image))
    expected = exported.network.graph.trace(torch.from_numpy(image).permute(0, 3, 1, 2))
    for tensor, value in expected.items():
        if tensor in trace:
            assert np.abs(trace[tensor] - value.permute(0, 2, 3, 1).numpy()).max() <= 2e-2 * value.abs().max().item()
    assert set(expected) - set(trace) <= {"input", "pixel_shuffle"}
    assert np.abs(trace["output"] - runner.run(image)).max() <= (1e-6 if name == "onnx-fp32" else 1e-2)


def test_a_half_precision_file_with_bytes_shows_all_its_tensors(small: Any, tmp_path: Path) -> None:
    """Its one QuantizeLinear makes the image; it is no INT8 file, whose tensors those nodes are."""
    path = tmp_path / "half.onnx"
    path.write_bytes(emit_onnx(small.graph, Precision.FP16, IODtype.UINT8, Layout.NHWC, None, {}))
    runner = OrtRunner(path, IOContract(IODtype.UINT8, Layout.NHWC, 3, 2, 1.0, (), any_size=True))
    trace = runner.trace(photograph(9, 7))
    assert set(small.graph.specs) - set(trace) <= {"input"}
    assert trace["pixel_shuffle"].dtype == np.float16


def test_eight_bit_products_do_not_saturate(tmp_path: Path) -> None:
    """Bright pixels under large weights: two products pass 32767, where AVX2's default kernels stop."""
    weight = QuantizedWeight(
        torch.full((4, 3, 3, 3), 127, dtype=torch.int8),
        torch.full((4,), 0.001).double(),
        torch.zeros(4, dtype=torch.int32),
    )
    conv = Conv2d(name="y", inputs=("x",), weight=torch.zeros(4, 3, 3, 3, dtype=torch.float64), padding=(1, 1))
    graph = Graph("test", TensorSpec("x", 3), (conv,), "y")
    network = QuantizedGraph(graph, {"x": IMAGE_GRID, "y": QuantParams(0.02, -128)}, {"y": weight})
    path = tmp_path / "bright.onnx"
    path.write_bytes(emit_onnx(network, Precision.INT8, IODtype.UINT8, Layout.NHWC, None, {}))
    runner = OrtRunner(path, IOContract(IODtype.UINT8, Layout.NHWC, 3, 1, 1.0, (), any_size=True))
    image = np.ones((1, 6, 6, 3))
    integers = network.input.quantize(torch.from_numpy(image).permute(0, 3, 1, 2))
    expected = network.evaluate_integers(conv, integers).permute(0, 2, 3, 1).numpy()
    found = np.rint(runner.run(image) * 255) - 128
    assert np.array_equal(found, expected)
    assert 40 < expected.max() + 128 < 255


def test_exact_products_are_asked_for_on_every_processor(export: Any) -> None:
    """Processors with VNNI do not saturate: what the test above cannot show there is that the option is set."""
    exported = export("onnx-int8")
    options = OrtRunner(exported.path, exported.contract)._session.get_session_options()
    assert options.get_session_config_entry("session.x64quantprecision") == "1"


def test_sizes_that_the_contract_refuses(export: Any) -> None:
    exported = export("onnx-fp32", sizes=((8, 10),))
    runner = OrtRunner(exported.path, exported.contract)
    assert runner.run(photograph(8, 10)).shape == (1, 16, 20, 3)
    for call in (runner.run, runner.prepare, runner.trace):
        with pytest.raises(ArtifactError, match=r"^onnxruntime: 8x11 is not a size of this artifact \(8x10\); choose"):
            call(photograph(8, 11))


def test_what_the_file_does_not_take_is_one_line(export: Any) -> None:
    exported = export("onnx-fp32", sizes=((8, 10),))
    runner = OrtRunner(exported.path, exported.contract)
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot run ") as caught:
        runner.run(photograph(8, 10, batch=2))
    assert "\n" not in str(caught.value)
    wrong = OrtRunner(exported.path, replace(exported.contract, layout=Layout.NHWC))
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot run "):
        wrong.run(photograph(8, 10))


def test_names_of_the_copy_are_its_outputs(export: Any) -> None:
    content = export("onnx-fp16").path.read_bytes()
    copy, names = with_all_outputs(content)
    model = onnx.load_from_string(copy)
    assert names == [x.name for x in model.graph.output]
    assert len(set(names)) == len(names) and "output" in names
    assert not any("weight" in name or name.endswith(".before_activation") for name in names)


def test_opening_says_nothing(export: Any, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("onnx-fp32", "onnx-fp16", "onnx-int8"):
        exported = export(name)
        runner = OrtRunner(exported.path, exported.contract)
        runner.run(photograph(9, 7))
        runner.trace(photograph(9, 7))
    assert capfd.readouterr() == ("", "")
