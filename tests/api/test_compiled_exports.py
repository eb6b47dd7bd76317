"""Exports that are compiled for one NPU, from the request to parity and quality; the compilers are faked."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from edgesr.api import ExportRequest, compiling, export, exporting, verify_parity, verify_quality
from edgesr.api.compiling import CompiledFile
from edgesr.api.export_request import Job
from edgesr.errors import ArtifactError, ExportError
from edgesr.model.registry import load_model
from edgesr.target import Compiler


@pytest.fixture
def fake_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compilers whose files are opaque: nothing on the host can run them."""

    def compiled(content: bytes, job: Job, file: str, logs: Path) -> CompiledFile:
        return CompiledFile(b"opaque " + job.npu.name.encode(), {f"{Path(file).stem}_qnn.bin": content[:16]})

    monkeypatch.setattr(compiling, "COMPILE", dict.fromkeys(Compiler, compiled))


@pytest.mark.usefixtures("fake_compilers")
@pytest.mark.parametrize("target", ["ethos-u85-1024", "qnn-int8", "qnn-fp16"])
def test_its_source_is_proved_and_measured_at_any_size(
    target: str, request_for: Callable[..., ExportRequest], lr_and_hr: tuple[Path, Path]
) -> None:
    npus = ("generic",) if target.startswith("ethos") else ("snapdragon-8-gen-2", "snapdragon-8-elite")
    result = export(request_for(target, npus=npus, sizes=((16, 24),)))
    folder = result.manifest.folder
    assert len(result.artifacts) == len(npus)
    for artifact, npu in zip(result.artifacts, npus, strict=True):
        opaque = target if npu == "generic" else npu
        assert (folder / artifact.file).read_bytes() == b"opaque " + opaque.encode()
        assert artifact.contract.sizes == ((16, 24),) and not artifact.contract.any_size
    assert verify_parity(folder).failures == ()
    quality = verify_quality(folder, *lr_and_hr)
    assert [one.quality.n for one in quality] == [3] * len(npus) and all(abs(one.drop_db) < 1 for one in quality)
    again = export(request_for(target, npus=npus, sizes=((16, 24),)))
    assert [one.sha256 for one in again.artifacts] == [one.sha256 for one in result.artifacts]
    (folder / f"{Path(result.artifacts[0].file).stem}_qnn.bin").write_bytes(b"changed")
    with pytest.raises(ArtifactError, match="was changed after its export"):
        verify_parity(folder)


@pytest.mark.usefixtures("fake_compilers")
def test_bytes_in_a_float_file_stand_for_the_networks_range(
    request_for: Callable[..., ExportRequest], small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dataclasses.replace(load_model(None, small_checkpoint), value_range=2.0)
    monkeypatch.setattr(exporting, "load_model", lambda name, weights: model)
    result = export(request_for("qnn-fp16", npus=("snapdragon-8-elite",), sizes=((16, 24),)))
    source = result.artifacts[0].source
    assert source is not None
    model = onnx.load(result.manifest.folder / source)
    scale = next(x for x in model.graph.initializer if x.name == "image.scale")
    assert result.artifacts[0].contract.value_range == 2
    assert onnx.numpy_helper.to_array(scale) == pytest.approx(2 / 255)


def test_a_compiler_that_fails_leaves_the_folder_as_it_was(
    request_for: Callable[..., ExportRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(content: bytes, job: Job, file: str, logs: Path) -> CompiledFile:
        raise ExportError(f"{file} does not compile; use less")

    monkeypatch.setattr(compiling, "COMPILE", dict.fromkeys(Compiler, failing))
    request = request_for("ethos-u85-1024", sizes=((16, 24),))
    with pytest.raises(ExportError, match="does not compile"):
        export(request)
    assert not request.out.exists()
