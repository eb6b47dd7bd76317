import dataclasses
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgesr.api.small_copy import LARGEST_PROVED_PIXELS, free_onnx, marked, provable, small_tflite
from edgesr.api.stored_sizes import follow_image
from edgesr.architecture import SRModel
from edgesr.artifact import Artifact, IOContract
from edgesr.errors import ArtifactError
from edgesr.export.capture import capture
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.export.tflite import emit_tflite
from edgesr.graph import Graph
from edgesr.graph_file import load_graph
from edgesr.runtime.parity import ParityReport, ParityRow
from edgesr.runtime.runners import open_runner
from edgesr.runtime.torch_runner import TorchRunner
from edgesr.target import IODtype, Layout, Precision, Target, find_target

HUGE = (8000, 6000)


def find(exported_once: Any, target: str) -> tuple[Path, Artifact, Target]:
    artifact = next(artifact for artifact in exported_once.artifacts if artifact.target == target)
    return exported_once.manifest.folder / artifact.file, artifact, artifact.find_target()


def with_sizes(path: Path, exported_once: Any, sizes: tuple[tuple[int, int], ...]) -> tuple[Path, IOContract]:
    """The float TFLite file of the small network once more, for these sizes."""
    _, artifact, _ = find(exported_once, "tflite-fp32")
    graph = load_graph(exported_once.manifest.folder / artifact.graph)
    assert isinstance(graph, Graph)
    path.write_bytes(emit_tflite(graph, Precision.FP32, IODtype.FLOAT32, sizes, {}))
    return path, dataclasses.replace(artifact.contract, sizes=sizes)


def test_files_of_ordinary_size_are_proven_themselves(exported_once: Any) -> None:
    path, artifact, target = find(exported_once, "tflite-int8")
    with provable(path, target, artifact.contract) as found:
        assert found == (path, artifact.contract, False)
    limit = dataclasses.replace(artifact.contract, sizes=((8, 8), (LARGEST_PROVED_PIXELS // 100, 100)))
    with provable(path, target, limit) as found:
        assert found == (path, limit, False)


def test_one_pixel_row_more_than_the_limit_takes_a_copy(exported_once: Any, tmp_path: Path) -> None:
    size = (LARGEST_PROVED_PIXELS // 100 + 1, 100)
    path, contract = with_sizes(tmp_path / "large.tflite", exported_once, ((8, 8), size))
    target = find(exported_once, "tflite-fp32")[2]
    with provable(path, target, contract) as (copy, small, on_copy):
        assert on_copy and copy != path and len(small.sizes) == 2


def test_a_file_of_other_sizes_than_its_contract_is_refused(exported_once: Any, tmp_path: Path) -> None:
    path, contract = with_sizes(tmp_path / "huge.tflite", exported_once, (HUGE,))
    with pytest.raises(ArtifactError, match="holds 1 subgraphs, its manifest says 2 sizes"):
        small_tflite(path, dataclasses.replace(contract, sizes=(HUGE, HUGE[::-1])))


def test_a_tflite_copy_differs_in_shapes_alone(exported_once: Any, tmp_path: Path) -> None:
    path, contract = with_sizes(tmp_path / "huge.tflite", exported_once, (HUGE, (16, 16), (1, 1_000_000)))
    content, small = small_tflite(path, contract)
    assert len(set(small.sizes)) == 3 and max(map(max, small.sizes)) <= 64
    before, after = (schema.ModelT.InitFromPackedBuf(x, 0) for x in (path.read_bytes(), content))
    for old, new, (height, width) in zip(before.subgraphs, after.subgraphs, small.sizes, strict=True):
        assert new.tensors[new.outputs[0]].shape.tolist() == [1, 2 * height, 2 * width, 3]
        for ours, theirs in zip(old.tensors, new.tensors, strict=True):
            if before.buffers[ours.buffer].data is None:
                assert ours.shape[3] == theirs.shape[3]
                ours.shape = theirs.shape
    assert packed(before) == packed(after)


def packed(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_tflite_copy_runs_every_signature_at_its_small_size(exported_once: Any, tmp_path: Path) -> None:
    path, contract = with_sizes(tmp_path / "huge.tflite", exported_once, (HUGE, (6000, 8000)))
    original, artifact, target = find(exported_once, "tflite-fp32")
    image = np.random.default_rng(0).random((1, 24, 40, 3), np.float32)
    expected = open_runner(target.runners[0], target, original, artifact.contract).run(image)
    with provable(path, target, contract) as (copy, small, on_copy):
        assert on_copy and small.sizes[0] == (24, 40)
        assert open_runner(target.runners[0], target, copy, small).run(image) == pytest.approx(expected, abs=1e-6)
        interpreter = Interpreter(model_content=copy.read_bytes())
        runner = interpreter.get_signature_runner("6000x8000")
        height, width = small.sizes[1]
        assert runner(image=np.zeros((1, height, width, 3), np.float32))["output"].shape == (
            1,
            2 * height,
            2 * width,
            3,
        )
    assert not copy.exists()


def test_small_sizes_are_multiples_that_the_network_takes(exported_once: Any, tmp_path: Path) -> None:
    path, contract = with_sizes(tmp_path / "huge.tflite", exported_once, (HUGE, HUGE[::-1]))
    for multiple in (1, 4, 16, 50):
        _, small = small_tflite(path, dataclasses.replace(contract, size_multiple=multiple))
        assert len(set(small.sizes)) == 2 and all(side % multiple == 0 for size in small.sizes for side in size)


def test_sizes_that_operators_store_follow_the_small_image(tmp_path: Path) -> None:
    """Two sizes in one file, of different stored sizes; what the copy computes is what the network computes."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=4, padding=1), torch.nn.UpsamplingNearest2d(scale_factor=2),
        torch.nn.Conv2d(4, 3, 3, padding=1), torch.nn.UpsamplingNearest2d(scale_factor=2),
    )  # fmt: skip
    model = SRModel("net", "test", module.eval().requires_grad_(False), {}, 1, "test", "", size_multiple=4)
    graph, _ = run_folds(capture(model), NATIVE_FOLDS)
    path, target = tmp_path / "huge.tflite", find_target("tflite-fp32")
    path.write_bytes(emit_tflite(graph, Precision.FP32, IODtype.FLOAT32, (HUGE, (4000, 8)), {}))
    contract = IOContract(IODtype.FLOAT32, Layout.NHWC, 3, 1, 1.0, (HUGE, (4000, 8)), False, size_multiple=4)
    assert target is not None
    with provable(path, target, contract) as (copy, small, on_copy):
        assert on_copy and not small.any_size and small.sizes == ((24, 40), (32, 40))
        for height, width in ((24, 40), (32, 40), (23, 38)):
            image = np.random.default_rng(0).random((1, height, width, 3))
            found = open_runner(target.runners[0], target, copy, small).run(image)
            assert found == pytest.approx(TorchRunner(model).run(image), abs=1e-5)
    original = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    with pytest.raises(ArtifactError, match=r"resizes to 4000x3000, no share of 7999x6000; export a smaller size"):
        follow_image(original, original.subgraphs[0], (7999, 6000), (24, 40), path)


def test_a_tflite_file_whose_operators_store_a_shape_is_refused(foreign_tflite: bytes, tmp_path: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(foreign_tflite)
    contract = IOContract(IODtype.FLOAT32, Layout.NHWC, 12, 6, 1.0, ((8, 8),), False)
    with pytest.raises(ArtifactError, match="its RESHAPE stores a shape, and 8x8 is too large to prove; export"):
        small_tflite(path, contract)


@pytest.mark.parametrize("target", ["tflite-fp32", "onnx-fp32"])
def test_the_huge_file_itself_must_load(tmp_path: Path, target: str) -> None:
    path, found = tmp_path / "broken", find_target(target)
    path.write_bytes(b"no network" * 20)
    contract = IOContract(IODtype.FLOAT32, found.default_layout if found else Layout.NHWC, 3, 2, 1.0, (HUGE,), True)
    assert found is not None
    with pytest.raises(ArtifactError, match=r"cannot load .*broken"), provable(path, found, contract):
        pytest.fail("loaded")


@pytest.mark.parametrize("layout", list(Layout), ids=str)
def test_an_onnx_copy_is_free_of_size_and_else_the_same(exported_once: Any, layout: Layout) -> None:
    path, artifact, _ = find(exported_once, "onnx-fp32")
    model = onnx.load(path)
    axes = (2, 3) if layout is Layout.NCHW else (1, 2)
    shape = [1, 3, *HUGE] if layout is Layout.NCHW else [1, *HUGE, 3]
    for value in (model.graph.input[0], model.graph.output[0]):
        for axis, side in enumerate(shape):
            value.type.tensor_type.shape.dim[axis].dim_value = side
    contract = dataclasses.replace(artifact.contract, layout=layout, sizes=(HUGE,), any_size=False)
    content, free = free_onnx(model.SerializeToString(), contract)
    copy = onnx.load_from_string(content)
    assert free == dataclasses.replace(contract, sizes=(), any_size=True)
    assert list(copy.graph.node) == list(model.graph.node)
    assert list(copy.graph.initializer) == list(model.graph.initializer)
    for value in (copy.graph.input[0], copy.graph.output[0]):
        dims = value.type.tensor_type.shape.dim
        assert all(dims[axis].dim_param for axis in axes) and all(dims[a].dim_value for a in {0, 1, 2, 3} - set(axes))


def test_the_report_says_that_a_copy_was_measured() -> None:
    row = ParityRow("a.onnx", "onnxruntime", "noise 8x8", 0.0, 0.0, 200.0, None, None)
    assert marked(ParityReport((row,), ())).rows[0].case == "noise 8x8, small copy"
