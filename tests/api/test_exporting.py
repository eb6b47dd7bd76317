import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

from edgesr.api import ExportRequest, exporting, verify_parity
from edgesr.api import export as run_export
from edgesr.api.export_report import REPORT_NAME
from edgesr.api.exporting import ExportResult
from edgesr.api.facts import RECORDED_PACKAGES
from edgesr.api.report_details import details_name
from edgesr.api.small_copy import MARK
from edgesr.architecture import SRModel
from edgesr.artifact import Manifest, load_manifest
from edgesr.errors import ExportError, ParityError
from edgesr.export.onnx import emit_onnx
from edgesr.export.tflite import emit_tflite
from edgesr.graph import Graph
from edgesr.graph_file import load_graph
from edgesr.images import load_rgb, save_png
from edgesr.model.reference import load_reference
from edgesr.model.registry import load_model
from edgesr.model.spanv2 import SPANV2
from edgesr.quant.recipe import RECIPES
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.runners import open_runner
from edgesr.target import TARGETS, IODtype, Layout

Build = Callable[..., ExportRequest]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sound(folder: Path) -> Manifest:
    """The folder's manifest, once every file in it is whole, loads and is all that there is."""
    manifest = load_manifest(folder)
    expected = {"manifest.json", REPORT_NAME}
    for artifact in manifest.artifacts:
        path = manifest.check(artifact)
        open_runner(artifact.find_target().runners[0], artifact.find_target(), path, artifact.contract)
        load_reference(folder / artifact.reference)
        load_graph(folder / artifact.graph)
        expected |= {artifact.file, artifact.reference, artifact.graph, details_name(artifact.file)}
    assert set(bytes_of(folder)) == expected
    return manifest


def test_one_call_writes_every_target(exported_once: ExportResult) -> None:
    manifest = sound(exported_once.manifest.folder)
    assert manifest == exported_once.manifest
    assert [artifact.target for artifact in manifest.artifacts] == [target.name for target in TARGETS]
    assert manifest.artifacts == exported_once.artifacts
    for artifact in manifest.artifacts:
        target, content = artifact.find_target(), (manifest.folder / artifact.file).read_bytes()
        assert artifact.file == f"spanv2_x2-{target.precision.value}.{target.format.value}"
        assert (artifact.sha256, artifact.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
        assert (artifact.contract.dtype, artifact.contract.layout) == (target.default_io, target.default_layout)
        assert (artifact.contract.channels, artifact.contract.upscale, artifact.contract.any_size) == (3, 2, True)


def test_manifest_says_what_was_exported_from_what(
    exported_once: ExportResult, small_checkpoint: Path, photos: Path
) -> None:
    for artifact in exported_once.artifacts:
        facts: dict[str, Any] = json.loads(json.dumps(artifact.facts))
        versions = facts["versions"]
        assert {"edgesr", "torch", "onnx", "onnxruntime", "ai-edge-litert", "numpy"} < set(versions)
        assert set(versions) == set(RECORDED_PACKAGES)
        assert all(importlib.metadata.version(name) == version for name, version in versions.items())
        assert facts["model"] == {
            "name": "spanv2_x2",
            "architecture": "spanv2",
            "config": {"channels": 8, "blocks": 2, "scale": 2, "in_channels": 3},
            "source": str(small_checkpoint),
            "sha256": hashlib.sha256(small_checkpoint.read_bytes()).hexdigest(),
        }
        folds = {record["fold"]: record["exactness"] for record in facts["folds"]}
        assert folds["densify-grouped-conv"] == folds["pixel-shuffle-to-depth-to-space"] == "exact, border included"
        assert all(record["changed"] for record in facts["folds"])
        assert facts["graph"]["operators"]["DepthToSpace"] == 1
        assert facts["parity"]["passed"] and not facts["parity"]["on_small_copy"]
        assert artifact.find_target().runners[0] in facts["parity"]["worst"]
        if not artifact.find_target().precision.is_integer:
            assert "quantization" not in facts
            continue
        quantization = facts["quantization"]
        assert (quantization["recipe"], quantization["calibration_images"]) == ("fast", 3)
        assert quantization["calibration_source"] == str(photos)


def test_kept_graph_and_reference_are_those_of_the_export(exported_once: ExportResult, gentle_model: SRModel) -> None:
    folder = exported_once.manifest.folder
    networks = {artifact.target: load_graph(folder / artifact.graph) for artifact in exported_once.artifacts}
    assert isinstance(networks["tflite-int8"], QuantizedGraph) and isinstance(networks["onnx-fp16"], Graph)
    graphs = {artifact.target: artifact.graph for artifact in exported_once.artifacts}
    assert graphs["tflite-fp32"] == graphs["onnx-fp16"] and graphs["tflite-int8"] == graphs["onnx-int8"]
    assert graphs["tflite-a16w8"] == graphs["onnx-a16w8"], "here LiteRT refuses nothing that ONNX Runtime takes"
    assert len(set(graphs.values())) == 3
    assert len({artifact.reference for artifact in exported_once.artifacts}) == 1
    reference = load_reference(folder / exported_once.artifacts[0].reference)
    x = torch.rand(1, 3, 5, 7)
    torch.testing.assert_close(reference.module(x), gentle_model.module(x), rtol=0, atol=0)


IO_CASES = [
    (IODtype.UINT8, Layout.NCHW),
    (IODtype.FLOAT32, Layout.NHWC),
    (IODtype.INT8, Layout.NCHW),
]


@pytest.mark.parametrize(("io", "layout"), IO_CASES, ids=str)
def test_integer_files_take_images_of_the_type_and_layout_asked_for(
    request_for: Build, io: IODtype, layout: Layout
) -> None:
    tflite = run_export(request_for("tflite-int8", io=io))
    result = run_export(request_for("onnx-int8", io=io, layout=layout))
    assert not tflite.parity["spanv2_x2-int8.tflite"].failures and not result.parity["spanv2_x2-int8.onnx"].failures
    interpreter = Interpreter(model_content=(tflite.manifest.folder / "spanv2_x2-int8.tflite").read_bytes())
    details = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert {np.dtype(detail["dtype"]).name for detail in details} == {io.value}
    model = onnx.load(result.manifest.folder / "spanv2_x2-int8.onnx")
    kinds = {x.type.tensor_type.elem_type for x in (*model.graph.input, *model.graph.output)}
    assert kinds == {onnx.helper.np_dtype_to_tensor_dtype(np.dtype(io.value))}
    axes = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert axes.index(3) == (1 if layout is Layout.NCHW else 3)
    for artifact in (*tflite.artifacts, *result.artifacts):
        plain = artifact.contract.to_json()
        expected = {IODtype.UINT8: (1 / 255, 0), IODtype.INT8: (1 / 255, -128), IODtype.FLOAT32: (None, None)}[io]
        assert (plain.get("scale"), plain.get("zero_point")) == expected


def test_several_sizes_become_signatures(request_for: Build) -> None:
    sizes = ((24, 40), (16, 16), (24, 40))
    result = run_export(request_for("tflite-fp32", sizes=sizes))
    (artifact,) = result.artifacts
    assert artifact.contract.sizes == ((24, 40), (16, 16))
    interpreter = Interpreter(model_content=(result.manifest.folder / artifact.file).read_bytes())
    assert set(interpreter.get_signature_list()) == {"serving_default", "16x16"}
    assert {row.runner for row in result.parity[artifact.file].rows} >= {"litert-xnnpack", "litert-xnnpack 16x16"}


def test_an_onnx_file_for_one_size_takes_that_size_alone(request_for: Build) -> None:
    result = run_export(request_for("onnx-fp32", sizes=((24, 40),)))
    (artifact,) = result.artifacts
    assert (artifact.contract.sizes, artifact.contract.any_size) == (((24, 40),), False)
    shape = onnx.load(result.manifest.folder / artifact.file).graph.input[0].type.tensor_type.shape
    assert [d.dim_value for d in shape.dim] == [1, 3, 24, 40]
    assert {row.case for row in result.parity[artifact.file].rows} == {"natural 24x40", "noise 24x40"}


def test_the_same_request_gives_the_same_bytes_twice_in_one_process(
    request_for: Build, exported_once: ExportResult
) -> None:
    names = ("tflite-int8", "onnx-fp32")
    again = run_export(request_for(*names))
    before = {artifact.target: artifact.sha256 for artifact in exported_once.artifacts}
    assert {artifact.target: artifact.sha256 for artifact in again.artifacts} == {name: before[name] for name in names}


def test_exporting_again_replaces_one_file_and_keeps_the_others(
    exported: Path, request_for: Build, photos: Path, tmp_path: Path
) -> None:
    before, old = bytes_of(exported), load_manifest(exported)
    (tmp_path / "other").mkdir()
    for index, path in enumerate(sorted(photos.iterdir())[:3]):
        save_png(tmp_path / "other" / f"{index}.png", 255 - load_rgb(path)[::-1])
    result = run_export(request_for("tflite-int8", out=exported, calibration=tmp_path / "other"))
    (artifact,) = result.artifacts
    assert artifact.sha256 != old.find(artifact.file).sha256
    assert {a.file for a in result.manifest.artifacts} == {a.file for a in old.artifacts}
    assert sound(exported) == result.manifest
    after = bytes_of(exported)
    changed = {"manifest.json", artifact.file, REPORT_NAME, details_name(artifact.file)}
    assert {name for name in before if after.get(name) != before[name]} == changed
    assert set(after) - set(before) == {artifact.graph}
    assert verify_parity(exported / artifact.file, ["litert-xnnpack"]).failures == ()


def test_the_proof_of_a_replaced_file_goes_once_nothing_stands_on_it(
    request_for: Build, tmp_path: Path, photos: Path
) -> None:
    first = run_export(request_for("tflite-int8"))
    save_png(tmp_path / "one" / "a.png", np.tile(load_rgb(next(photos.iterdir())), (2, 2, 1)))
    second = run_export(request_for("tflite-int8", calibration=tmp_path / "one"))
    old, new = first.artifacts[0], second.artifacts[0]
    assert old.graph != new.graph and old.reference == new.reference
    sound(tmp_path / "out")


def test_a_second_model_leaves_the_first_ones_proof_alone(exported: Path, request_for: Build, tmp_path: Path) -> None:
    torch.manual_seed(5)
    torch.save(SPANV2(channels=6, blocks=2, scale=2).state_dict(), tmp_path / "other.pth")
    run_export(request_for("onnx-fp32", out=exported, weights=tmp_path / "other.pth"))
    manifest = sound(exported)
    assert len({artifact.reference for artifact in manifest.artifacts}) == 2
    report = verify_parity(exported, ["onnxruntime"])
    assert report.failures == () and len({row.file for row in report.rows}) == 4


def test_a_file_that_fails_parity_is_not_written_and_nothing_is_lost(
    exported: Path, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bytes_of(exported)
    emit = emit_tflite

    def emit_wrongly(network: Graph, *rest: Any) -> bytes:
        name = next(op.name for op in network if op.name.endswith("c2.conv"))
        weight = network.parameters()[name, "weight"].clone()
        weight[0, 0] *= 1.05
        return emit(network.with_parameters({(name, "weight"): weight}), *rest)

    monkeypatch.setattr(exporting, "emit_tflite", emit_wrongly)
    with pytest.raises(ParityError, match=r"^spanv2_x2-fp32\.tflite was not written, .*litert-xnnpack") as caught:
        run_export(request_for("tflite-fp32", out=exported))
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)
    assert bytes_of(exported) == before


def test_targets_written_before_a_failure_stay_and_are_listed(
    request_for: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*arguments: object) -> bytes:
        raise ExportError("no")

    monkeypatch.setattr(exporting, "emit_onnx", fail)
    with pytest.raises(ExportError, match=r"^no$"):
        run_export(request_for("tflite-fp32", "onnx-fp32", "tflite-fp16"))
    assert [artifact.target for artifact in sound(tmp_path / "out").artifacts] == ["tflite-fp32"]


@pytest.mark.parametrize("target", ["tflite-int8", "onnx-fp32"])
def test_huge_sizes_are_proven_on_a_small_copy(request_for: Build, target: str) -> None:
    result = run_export(request_for(target, sizes=((4000, 6000),)))
    (artifact,) = result.artifacts
    assert artifact.contract.sizes == ((4000, 6000),)
    assert artifact.facts["parity"]["on_small_copy"] is True  # type: ignore[index]  # a mapping
    rows = result.parity[artifact.file].rows
    assert rows and all(row.case.endswith(MARK) for row in rows)


def test_the_small_copy_shows_the_errors_of_the_huge_file(request_for: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    emit = emit_onnx

    def emit_swapped(*arguments: Any) -> bytes:
        model = onnx.load_from_string(emit(*arguments))
        weight = next(x for x in model.graph.initializer if list(onnx.numpy_helper.to_array(x).shape) == [8, 8, 3, 3])
        values = onnx.numpy_helper.to_array(weight)[[1, 0, *range(2, 8)]]
        weight.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values), weight.name))
        return bytes(model.SerializeToString())

    monkeypatch.setattr(exporting, "emit_onnx", emit_swapped)
    with pytest.raises(ParityError, match="onnxruntime on natural"):
        run_export(request_for("onnx-fp32", sizes=((4000, 6000),)))


@pytest.fixture
def unusual_model(small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SRModel]:
    """What export loads: the small network as one that takes multiples of 4 and values up to 255."""
    model = dataclasses.replace(load_model(None, small_checkpoint), size_multiple=4, value_range=255.0)
    monkeypatch.setattr(exporting, "load_model", lambda name, weights: model)
    yield model


@pytest.mark.parametrize("size", [(99_996, 99_996), (1, 107_374_182 // 4)], ids=["given", "padded"])
def test_sizes_that_no_runtime_takes_are_refused_before_any_work(
    request_for: Build, unusual_model: SRModel, size: tuple[int, int]
) -> None:
    request = request_for("tflite-fp32", sizes=((128, 128), size))
    with pytest.raises(ExportError, match=rf"--size {size[0]}x{size[1]} is too large: .* stay below 107374182 pixels"):
        run_export(request)
    assert not request.out.exists()


def test_integers_are_refused_for_a_network_on_other_values(request_for: Build, unusual_model: SRModel) -> None:
    with pytest.raises(ExportError, match=r"needs a network on images in \[0, 1\].*choose a float target"):
        run_export(request_for("tflite-int8"))


def test_a_network_on_other_values_and_multiples_exports_to_float(request_for: Build, unusual_model: SRModel) -> None:
    result = run_export(request_for("tflite-fp32"))
    (artifact,) = result.artifacts
    assert (artifact.contract.value_range, artifact.contract.size_multiple) == (255.0, 4)
    assert result.parity[artifact.file].failures == ()
    assert "padded_sizes" not in artifact.facts


def test_sizes_off_the_multiple_are_written_padded_and_proven(request_for: Build, unusual_model: SRModel) -> None:
    result = run_export(request_for("tflite-fp32", sizes=((29, 40), (32, 38), (32, 40))))
    (artifact,) = result.artifacts
    assert artifact.contract.sizes == ((32, 40),) and artifact.facts["padded_sizes"] == [[29, 40], [32, 38]]
    assert "noise 33x47" in {row.case for row in result.parity[artifact.file].rows}, "one that is padded"


def test_a_network_on_one_channel_exports_to_float_and_verifies(request_for: Build, tmp_path: Path) -> None:
    torch.manual_seed(1)
    torch.save(SPANV2(channels=4, blocks=2, scale=2, in_channels=1).state_dict(), tmp_path / "grey.pth")
    result = run_export(request_for("onnx-fp32", weights=tmp_path / "grey.pth"))
    assert result.artifacts[0].contract.channels == 1
    assert verify_parity(tmp_path / "out").failures == ()


REFUSED_REQUESTS: list[tuple[tuple[str, ...], dict[str, object], str]] = [
    ((), {}, "nothing to export; name a target"),
    (("onnx-fp32",), {"io": IODtype.UINT8}, "onnx-fp32 has no uint8 I/O; choose from float32"),
    (("tflite-fp32",), {"layout": Layout.NCHW}, "tflite-fp32 has no nchw layout; choose from nhwc"),
    (("tflite-fp32", "onnx-fp32"), {"sizes": ((8, 8), (9, 9))}, "onnx-fp32 holds one size; give one --size"),
    (("tflite-fp32",), {"sizes": ((0, 8),)}, "a size has no pixel"),
    (("tflite-int8",), {"effort": "heroic"}, "no recipe is called 'heroic'; choose from ready, fast"),
]


@pytest.mark.parametrize(("names", "fields", "message"), REFUSED_REQUESTS, ids=lambda value: str(value)[:30])
def test_requests_that_cannot_be_met_are_refused(
    request_for: Build, names: tuple[str, ...], fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        request_for(*names, **fields)


def test_the_default_effort_is_the_first_recipe(request_for: Build) -> None:
    assert request_for("tflite-fp32").effort == RECIPES[0].name
