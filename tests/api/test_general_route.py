"""A network with softmax attention over windows goes the general route: proven, verified, audited, timed."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edgesr.api import ExportRequest, ExportResult, export, verify_parity
from edgesr.api.auditing import audit
from edgesr.api.benchmarking import bench
from edgesr.errors import CheckpointError, ExportError, MissingBackendError, UnsupportedOpError
from edgesr.model.reference import load_reference
from edgesr.model.user_network import MODULE_NAME
from edgesr.route import Route
from edgesr.target import find_target

SIZE = (16, 24)
SOURCE = """
import torch
import torch.nn.functional as F
from torch import nn

class Attention(nn.Module):
    def __init__(self, width, window):
        super().__init__()
        self.window = window
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)

    def forward(self, x):
        b, c, h, w = x.shape
        m = self.window
        y = x.view(b, c, h // m, m, w // m, m).permute(0, 2, 4, 3, 5, 1).reshape(-1, m * m, c)
        q, k, v = self.qkv(self.norm(y)).chunk(3, -1)
        y = torch.softmax(q @ k.transpose(-2, -1) * c ** -0.5, -1) @ v
        return x + y.view(b, h // m, w // m, m, m, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
        self.attention = Attention(8, 4)
        self.tail = nn.Conv2d(8, 12, 3, 1, 1)

    def forward(self, x):
        y = self.attention(F.gelu(self.head(x)))
        return F.pixel_shuffle(self.tail(y), 2) * 0.1 + F.interpolate(x, scale_factor=2, mode="bilinear")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the class and its weights."""
    place = tmp_path_factory.mktemp("general")
    (place / "net.py").write_text(SOURCE)
    torch.manual_seed(0)
    torch.save(direct().state_dict(), place / "w.pth")
    return place


def direct() -> nn.Module:
    """The network, by Python itself."""
    names: dict[str, type[nn.Module]] = {}
    exec(compile(SOURCE, "direct", "exec"), names)
    return names["Net"]().eval()


def request(folder: Path, *targets: str, out: str = "out", route: Route = Route.GENERAL) -> ExportRequest:
    chosen = tuple(target for name in targets if (target := find_target(name)))
    return ExportRequest(chosen, folder / out, f"{folder / 'net.py'}:Net", folder / "w.pth", (SIZE,), route=route)


@pytest.fixture(scope="module")
def exported(folder: Path) -> ExportResult:
    """Both ONNX files, written once."""
    return export(request(folder, "onnx-fp32", "onnx-int8"))


def test_the_files_compute_the_network(exported: ExportResult, folder: Path) -> None:
    module = direct()
    module.load_state_dict(torch.load(folder / "w.pth"))
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = module.double()(image.double()).numpy()
    for artifact, limit in zip(exported.artifacts, (2e-6, 2e-2), strict=True):
        session = onnxruntime.InferenceSession(exported.manifest.folder / artifact.file)
        found = np.asarray(session.run(None, {"image": image.numpy()})[0])
        assert np.abs(found - expected).max() <= limit, artifact.file
    kinds = {node.op_type for node in onnx.load(exported.manifest.folder / exported.artifacts[1].file).graph.node}
    assert "QuantizeLinear" in kinds


def test_the_manifest_says_who_converted(exported: ExportResult) -> None:
    listed = json.loads((exported.manifest.folder / "manifest.json").read_text())["artifacts"]
    for plain, artifact in zip(listed, exported.artifacts, strict=True):
        assert plain["facts"]["route"] == "general" and plain["graph"] is None
        packages = plain["facts"]["converter"]["packages"]
        assert packages["torch"] == torch.__version__ and "onnxscript" in packages
        assert ("onnxruntime" in packages) == ("int8" in artifact.file)
    assert listed[1]["facts"]["quantization"]["psnr_to_network_db"] > 40
    assert listed[1]["facts"]["quantization"]["calibration_source"] == "builtin"


def test_the_folder_is_verified_audited_and_timed_without_the_class(exported: ExportResult) -> None:
    sys.modules.pop(MODULE_NAME, None)
    out = exported.manifest.folder
    report = verify_parity(out)
    assert not report.failures
    assert {row.runner for row in report.rows} == {"onnxruntime", "onnxruntime-unfused"}
    assert any("padded" in row.case for row in report.rows)
    placed = audit(out, ("qualcomm-htp",))
    assert "Softmax" in str(placed.to_json())
    record = bench(out, runs=1, warmups=0, memory=False, blocks=1)
    assert len(record.results) == 3
    assert MODULE_NAME not in sys.modules
    model = load_reference(out / exported.artifacts[0].reference)
    assert (model.architecture, model.size_multiple) == ("program", 4)


@pytest.mark.parametrize(("file", "why"), [(0, "max abs"), (1, "< 30.0 dB")])
def test_wrong_weights_are_caught(exported: ExportResult, tmp_path: Path, file: int, why: str) -> None:
    """One changed constant of the last convolution fails parity: in the float file any, in INT8 one that shows."""
    from edgesr.api.whole_proving import check_whole_file
    from edgesr.images import load_rgb
    from edgesr.quant.builtin import builtin_calibration_paths
    from edgesr.runtime.torch_runner import TorchRunner

    artifact, out = exported.artifacts[file], exported.manifest.folder
    spoilt = onnx.load(out / artifact.file)
    biases = [t for t in spoilt.graph.initializer if list(t.dims) == [12]]
    largest = max(biases, key=lambda t: t.data_type == onnx.TensorProto.INT32)
    value = numpy_helper.to_array(largest)
    changed = value + 1e-3 if file == 0 else value + np.int32(20 * np.abs(value).max())
    largest.CopyFrom(numpy_helper.from_array(changed.astype(value.dtype), largest.name))
    onnx.save(spoilt, tmp_path / "spoilt.onnx")
    model = load_reference(out / artifact.reference)
    given = artifact.find_target(), artifact.contract, model, TorchRunner(model)
    images = [load_rgb(path) for path in builtin_calibration_paths()[:1]]
    report = check_whole_file(tmp_path / "spoilt.onnx", artifact.file, *given, images)
    assert report.failures and why in str(report.failures[0].describe())


def test_a_program_of_another_kind_is_refused(exported: ExportResult, tmp_path: Path) -> None:
    """A reference from a stranger names operators alone, and only those of core ATen."""
    content = (exported.manifest.folder / exported.artifacts[0].reference).read_bytes()
    assert b"aten.gelu.default" in content
    for other in (b"aten.rand.default", b"aten.set_.default"):
        (tmp_path / "r.safetensors").write_bytes(content.replace(b"aten.gelu.default", other))
        with pytest.raises(CheckpointError, match="safetensors"):
            load_reference(tmp_path / "r.safetensors")


def test_the_native_route_points_here(folder: Path) -> None:
    with pytest.raises(UnsupportedOpError, match=r"aten\._softmax.*export it as it is with --route general"):
        export(request(folder, "onnx-fp32", out="native", route=Route.NATIVE))


def test_what_the_route_does_not_write_is_refused(folder: Path) -> None:
    for name in ("onnx-fp16", "tflite-a16w8", "litert-aot-int8"):
        with pytest.raises(ExportError, match=f"{name} does not go the general route: .*; choose from tflite-fp32, "):
            request(folder, name)


def test_a_missing_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    def version(name: str) -> str:
        if name == "litert-torch":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr("edgesr.export.general.importlib.metadata.version", version)
    with pytest.raises(
        MissingBackendError, match=r'litert-torch is not installed; run pip install "edgesr\[litert-torch\]"'
    ):
        export(request(folder, "tflite-fp32", out="missing"))


def test_without_tensorflow_its_runner_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgesr.runtime.tensorflow_interpreter import tensorflow_interpreter

    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingBackendError, match=r'run pip install "edgesr\[tensorflow\]"'):
        tensorflow_interpreter(b"", 1)


@pytest.mark.skipif(importlib.util.find_spec("litert_torch") is None, reason="needs the extra litert-torch")
def test_tflite_files_pass_parity(folder: Path) -> None:
    result = export(request(folder, "tflite-fp32", "tflite-int8", out="tflite"))
    report = verify_parity(result.manifest.folder)
    assert report.rows and not report.failures
    assert {row.runner for row in report.rows} == {"litert-xnnpack", "litert-reference"}


def test_litert_torch_as_a_witness_needs_its_extra(exported: ExportResult) -> None:
    if importlib.util.find_spec("litert_torch") is not None:
        report = verify_parity(exported.manifest.folder, ("litert-torch",))
        assert report.rows and not report.failures and {row.runner for row in report.rows} == {"litert-torch"}
        return
    with pytest.raises(MissingBackendError, match=r'pip install "edgesr\[litert-torch\]"'):
        verify_parity(exported.manifest.folder, ("litert-torch",))
