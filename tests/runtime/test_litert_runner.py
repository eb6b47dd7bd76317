from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError
from edgesr.export.tflite import emit_tflite
from edgesr.graph import Graph
from edgesr.ops import ResizeNearest, TensorSpec
from edgesr.runtime.litert_runner import RESOLVERS, Kernels, LiteRTRunner, with_all_outputs
from edgesr.target import IODtype, Layout, Precision

SIZES = ((32, 48), (24, 30))
WITHOUT_TENSORFLOW = pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs the extra tensorflow")
kernels = pytest.mark.parametrize(
    "kernels", [*RESOLVERS, pytest.param(Kernels.TENSORFLOW, marks=WITHOUT_TENSORFLOW)], ids=lambda kind: kind.value
)


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3)) / 255


@pytest.fixture(scope="module")
def of_fixed_sizes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IOContract]:
    """A network that stores its image's size, written for two sizes."""
    graph = Graph("test", TensorSpec("x", 3), (ResizeNearest(name="y", inputs=("x",), factor=2),), "y")
    sizes = ((4, 6), (5, 3))
    path = tmp_path_factory.mktemp("fixed") / "fixed.tflite"
    path.write_bytes(emit_tflite(graph, Precision.FP32, IODtype.FLOAT32, sizes, {}))
    return path, IOContract(IODtype.FLOAT32, Layout.NHWC, 3, 2, 1.0, sizes, any_size=False)


@kernels
def test_each_size_runs_on_its_own_signature(of_fixed_sizes: tuple[Path, IOContract], kernels: Kernels) -> None:
    runner = LiteRTRunner(*of_fixed_sizes, kernels)
    for size in ((5, 3), (4, 6), (5, 3)):
        image = photograph(*size)
        doubled = image.repeat(2, axis=1).repeat(2, axis=2)
        assert np.abs(runner.run(image) - doubled).max() <= 1e-7
        assert np.abs(runner.trace(image)["y"] - doubled).max() <= 1e-7
        runner.prepare(image)
        runner.invoke()


def test_other_sizes_are_refused(of_fixed_sizes: tuple[Path, IOContract]) -> None:
    runner = LiteRTRunner(*of_fixed_sizes)
    for call in (runner.run, runner.prepare, runner.trace):
        with pytest.raises(ArtifactError, match=r"^litert-xnnpack: 4x7 is not a size of this artifact \(4x6, 5x3\); "):
            call(photograph(4, 7))


def test_a_signature_can_be_chosen(export: Any) -> None:
    exported = export("tflite-int8", sizes=SIZES)
    runner = LiteRTRunner(exported.path, exported.contract, signature=SIZES[1])
    assert runner.name == "litert-xnnpack 24x30"
    default = LiteRTRunner(exported.path, exported.contract)
    for size in (*SIZES, (7, 9)):
        assert np.array_equal(runner.run(photograph(*size)), default.run(photograph(*size)))
    runner.prepare(photograph(*SIZES[1]))
    runner.invoke()
    assert np.array_equal(runner.result(), default.run(photograph(*SIZES[1])))
    with pytest.raises(ArtifactError, match=r"has no signature for 8x8; export it again$"):
        LiteRTRunner(exported.path, exported.contract, signature=(8, 8))


def test_the_chosen_signature_is_the_one_that_runs(export: Any, tampered: Any) -> None:
    wrong = tampered(export("tflite-fp32", sizes=SIZES), lambda file: file.swap("block_2.c2.conv", 3, 7), subgraph=1)
    first, second = (LiteRTRunner(wrong.path, wrong.contract, signature=size) for size in SIZES)
    by_size = LiteRTRunner(wrong.path, wrong.contract)
    for size in (*SIZES, (7, 9)):
        image = photograph(*size)
        assert not np.array_equal(first.run(image), second.run(image))
        assert not np.array_equal(first.trace(image)["block_2.c2.conv"], second.trace(image)["block_2.c2.conv"])
        assert np.array_equal(by_size.run(image), (second if size == SIZES[1] else first).run(image))


WRONG_EDGES = {
    "dtype": (lambda contract: replace(contract, dtype=IODtype.UINT8), "is int8, its contract says uint8"),
    "range": (
        lambda contract: replace(contract, value_range=2.0),
        "has scale 0.00392157 and zero point -128, its contract says 0.00784314 and -128",
    ),
}


@pytest.mark.parametrize("case", WRONG_EDGES)
def test_edges_must_be_those_of_the_contract(case: str, export: Any) -> None:
    change, message = WRONG_EDGES[case]
    exported = export("tflite-int8")
    with pytest.raises(ArtifactError, match=f"its 'image' {message}; export it again$"):
        LiteRTRunner(exported.path, change(exported.contract))


@pytest.mark.parametrize("io", [IODtype.INT8, IODtype.UINT8])
def test_a_file_that_misstates_its_output_is_refused(io: IODtype, export: Any, tampered: Any) -> None:
    """The bytes would be right; but a deployer takes scale and zero point from the file."""
    name = "pixel_shuffle" if io is IODtype.INT8 else "pixel_shuffle.uint8"
    for seed in (lambda file: file.scale_activation(name, 1.02), lambda file: file.move_zero_point(name, 1)):
        wrong = tampered(export("tflite-int8", io), seed)
        with pytest.raises(ArtifactError, match="its 'output' has scale"):
            LiteRTRunner(wrong.path, wrong.contract, Kernels.REFERENCE)


@pytest.mark.parametrize("name", ["tflite-fp32", "tflite-fp16", "tflite-int8"])
def test_kernels_are_those_asked_for(name: str, export: Any) -> None:
    """XNNPACK takes the whole file and the whole traced copy; the reference kernels take all without it."""
    content = export(name).path.read_bytes()
    for file in (content, with_all_outputs(content)):
        delegates = {}
        for kind in RESOLVERS:
            interpreter = Interpreter(model_content=file, experimental_op_resolver_type=RESOLVERS[kind])
            interpreter.allocate_tensors()
            planned = [detail["op_name"] for detail in interpreter._get_ops_details()]
            delegates[kind] = planned.count("DELEGATE")
        assert delegates == {Kernels.XNNPACK: 1, Kernels.REFERENCE: 0}
    assert RESOLVERS[Kernels.REFERENCE] is OpResolverType.BUILTIN_REF


@kernels
@pytest.mark.parametrize("io", IODtype)
def test_traces_show_the_graph_and_the_edges(io: IODtype, kernels: Kernels, export: Any) -> None:
    exported = export("tflite-int8", io)
    runner = LiteRTRunner(exported.path, exported.contract, kernels)
    image = photograph(9, 7)
    trace = runner.trace(image)
    edges = set() if io is IODtype.INT8 else {f"pixel_shuffle.{io.value}"} | {f"input.{io.value}"}
    assert set(trace) == set(exported.network.graph.specs) | edges
    assert {trace[name].dtype for name in exported.network.graph.specs} == {np.dtype(np.int8)}
    assert np.array_equal(trace["input"], np.rint(image * 255) - 128)
    assert np.abs((trace["pixel_shuffle"] + 128.0) / 255 - runner.run(image)).max() <= 1e-6


def test_traces_of_half_files_show_no_weights(export: Any) -> None:
    exported = export("tflite-fp16")
    runner = LiteRTRunner(exported.path, exported.contract)
    assert set(runner.trace(photograph(9, 7))) == set(exported.network.graph.specs)


def test_the_copy_with_all_outputs_is_one_subgraph(export: Any) -> None:
    content = export("tflite-fp32", sizes=SIZES).path.read_bytes()
    original = schema.ModelT.InitFromPackedBuf(content, 0)
    for key, index in ((None, 0), ("serving_default", 0), ("24x30", 1)):
        (graph,) = schema.ModelT.InitFromPackedBuf(with_all_outputs(content, key), 0).subgraphs
        assert graph.name == original.subgraphs[index].name
        assert len(graph.outputs) == len(graph.operators) + 1
    assert export("tflite-fp32", sizes=SIZES).path.read_bytes() == content


def test_opening_says_nothing(export: Any, capfd: pytest.CaptureFixture[str]) -> None:
    exported = export("tflite-fp32", sizes=SIZES)
    runner = LiteRTRunner(exported.path, exported.contract)
    for size in (*SIZES, (7, 9)):
        runner.run(photograph(*size))
        runner.trace(photograph(*size))
    assert capfd.readouterr() == ("", "")
