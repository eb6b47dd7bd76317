from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgesr.api.peer_output import without_noise
from edgesr.architecture import SRModel
from edgesr.export.peers.onnxruntime import ImageReader, OnnxRuntime
from edgesr.export.peers.peer import float_contract
from edgesr.export.peers.torch_onnx import export_float_onnx
from edgesr.progress import silent
from edgesr.runtime.ort_runner import OrtRunner
from edgesr.runtime.parity import psnr_db
from edgesr.target import Layout

Pieces = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def exported(gentle_model: SRModel, tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """The float graph, exported once: that takes seconds."""
    with without_noise(silent):
        return export_float_onnx(gentle_model, tmp_path_factory.mktemp("torch-onnx"))


@pytest.fixture
def _exported_already(exported: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OnnxRuntime.quantize.__globals__, export_float_onnx.__name__, lambda *given: exported)


def test_the_float_graph_is_the_network_at_any_size(
    gentle_model: SRModel,
    exported: onnx.ModelProto,
    image: NDArray[np.float32],
    expected: NDArray[np.float64],
    tmp_path: Path,
) -> None:
    kinds = {node.op_type for node in exported.graph.node}
    assert "DepthToSpace" in kinds and not kinds & {"Reshape", "Transpose", "Identity"}
    onnx.save(exported, tmp_path / "float.onnx")
    contract = float_contract(gentle_model, Layout.NCHW, None)
    assert np.abs(OrtRunner(tmp_path / "float.onnx", contract).run(image) - expected).max() < 1e-5


def test_a_file_in_u8s8_per_channel_that_is_near_the_network(
    gentle_model: SRModel, pieces: Pieces, image: NDArray[np.float32], expected: NDArray[np.float64], tmp_path: Path
) -> None:
    with without_noise(silent):
        (file,) = OnnxRuntime().quantize(gentle_model, pieces, [(24, 32)], tmp_path, silent)
    graph = onnx.load(file.path).graph
    stored = {x.name: x for x in graph.initializer}
    quantized = [stored[n.input[0]] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in stored]
    weights = [x for x in quantized if len(x.dims) == 4]
    assert len(weights) == 1 + 3 + 4 + 2 and {x.data_type for x in weights} == {onnx.TensorProto.INT8}
    scales = {n.input[0]: stored[n.input[1]] for n in graph.node if n.op_type == "DequantizeLinear"}
    assert all(list(scales[x.name].dims) == [x.dims[0]] for x in weights), "a scale for each output channel"
    zeros = {stored[n.input[2]].data_type for n in graph.node if n.op_type == "QuantizeLinear"}
    assert zeros == {onnx.TensorProto.UINT8}
    output = OrtRunner(file.path, file.contract).run(image)
    assert output.shape == expected.shape and psnr_db(output, expected, peak=1) > 25
    assert file.contract.accepts(7, 5) is None


def test_every_piece_is_read_once_in_its_own_size(pieces: Pieces) -> None:
    reports: list[tuple[str, int, int]] = []
    batches = [np.full((1, 3, 2, 2), index, np.float32) for index in range(3)]
    reader = ImageReader(batches, lambda *report: reports.append(report))
    seen = []
    for start in range(len(reader)):
        reader.set_range(start, start + 1)
        while (feed := reader.get_next()) is not None:
            seen.append(feed["image"])
    assert [id(x) for x in seen] == [id(x) for x in batches]
    assert reports == [("calibrating onnxruntime", done, 3) for done in (1, 2, 3)]


@pytest.mark.usefixtures("_exported_already")
def test_calibration_decides_the_ranges(gentle_model: SRModel, pieces: Pieces, tmp_path: Path) -> None:
    """Images as dark as night give another input range than photographs: the pieces are what is calibrated on."""
    found = []
    for name, images in (("bright", pieces), ("dark", [piece // 8 for piece in pieces])):
        (tmp_path / name).mkdir()
        with without_noise(silent):
            (file,) = OnnxRuntime().quantize(gentle_model, images, [], tmp_path / name, silent)
        graph = onnx.load(file.path).graph
        first = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "image")
        scale = next(x for x in graph.initializer if x.name == first.input[1])
        found.append(float(onnx.numpy_helper.to_array(scale)))
    brightest = max(int(piece.max()) for piece in pieces)
    assert found[0] == pytest.approx(brightest / 255 / 255, rel=0.15) and found[1] < found[0] / 6
