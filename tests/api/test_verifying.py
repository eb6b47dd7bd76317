import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from edgesr.api import verify_parity, verify_quality
from edgesr.api.verifying import QualityComparison, as_image_function
from edgesr.artifact import IOContract, Manifest, load_manifest
from edgesr.errors import ArtifactError, CheckpointError, EdgeSRError, ImageError
from edgesr.images import load_rgb, save_png
from edgesr.runtime.quality import ImageQuality, QualityReport
from edgesr.target import IODtype, Layout

TFLITE = ("litert-xnnpack", "litert-reference")


@pytest.fixture
def pairs(photos: Path, tmp_path: Path) -> tuple[Path, Path]:
    """LR and HR folders at scale 2: photographs and their 2x2 means."""
    for path in photos.iterdir():
        hr = load_rgb(path)[:32, :40]
        lr = hr.reshape(16, 2, 20, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
        save_png(tmp_path / "HR" / path.name, hr)
        save_png(tmp_path / "LR" / f"{path.stem}x2.png", lr)
    return tmp_path / "LR", tmp_path / "HR"


def change_manifest(folder: Path, file: str, **fields: object) -> None:
    manifest = load_manifest(folder)
    changed = dataclasses.replace(manifest.find(file), **fields)  # type: ignore[arg-type]  # a test names real fields
    artifacts = tuple(changed if artifact.file == file else artifact for artifact in manifest.artifacts)
    Manifest(folder, artifacts).save()


def test_a_folder_is_verified_on_every_runner_of_every_file(exported_once: Any) -> None:
    report = verify_parity(exported_once.manifest.folder)
    assert report.failures == ()
    found = {(row.file, row.runner) for row in report.rows if not row.runner.startswith("graph")}
    assert found == {
        (artifact.file, runner) for artifact in exported_once.artifacts for runner in artifact.find_target().runners
    }
    assert {(row.file, row.runner) for row in report.operators} == found
    cases = {row.case for row in report.rows}
    assert {"natural odd 37x53", "noise 1x1", "full noise 33x47"} <= cases


def test_one_file_is_verified_on_the_runners_asked_for(exported_once: Any) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-fp32.tflite"
    report = verify_parity(path, ["litert-reference"])
    assert {row.runner for row in report.rows} == {"graph", "litert-reference"}
    assert {row.file for row in report.rows} == {path.name}


def test_images_of_the_user_are_checked_on(exported_once: Any, tmp_path: Path) -> None:
    Image.new("L", (31, 29), 77).save(tmp_path / "grey.png")
    report = verify_parity(exported_once.manifest.folder / "spanv2_x2-fp32.onnx", images=tmp_path)
    assert "natural 29x31" in {row.case for row in report.rows}


@pytest.mark.parametrize(
    ("file", "runners", "message"),
    [
        ("", ["tensorrt"], "no runner is called 'tensorrt'; choose from litert-xnnpack, litert-reference, onnxruntime"),
        ("spanv2_x2-fp32.onnx", ["litert-xnnpack"], r"runner 'litert-xnnpack' runs no file of .*; choose from onnxrun"),
        ("spanv2_x2-fp32.tflite", ["litert-xnnpack", "onnxruntime"], r"runner 'onnxruntime' runs no file of .*tflite"),
    ],
)
def test_a_runner_that_would_check_nothing_is_refused(
    exported_once: Any, file: str, runners: list[str], message: str
) -> None:
    with pytest.raises(EdgeSRError, match=message):
        verify_parity(exported_once.manifest.folder / file, runners)


def test_wrong_weights_that_the_manifest_vouches_for_still_fail(exported: Path) -> None:
    path = exported / "spanv2_x2-fp32.onnx"
    model = onnx.load(path)
    weight = next(x for x in model.graph.initializer if list(x.dims) == [8, 8, 3, 3])
    values = onnx.numpy_helper.to_array(weight) * np.float32(1.001)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    path.write_bytes(model.SerializeToString())
    change_manifest(exported, path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    report = verify_parity(path)
    assert {row.runner for row in report.failures} == {"onnxruntime"}
    assert report.failures[-1] in report.operators


def append_byte(folder: Path) -> None:
    with (folder / "spanv2_x2-fp32.tflite").open("ab") as file:
        file.write(b"\0")


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def remove_proofs(pattern: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        for path in (folder / "reference").glob(pattern):
            path.unlink()

    return apply


def damage_proofs(pattern: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        for path in (folder / "reference").glob(pattern):
            path.write_bytes(path.read_bytes()[:100])

    return apply


DAMAGES: list[tuple[str, Callable[[Path], object], type[EdgeSRError], str]] = [
    ("changed", append_byte, ArtifactError, r"tflite was changed after its export: sha256 .*; export it again"),
    ("missing", remove("spanv2_x2-fp32.tflite"), ArtifactError, r"fp32\.tflite is missing, its manifest lists it"),
    ("no manifest", remove("manifest.json"), ArtifactError, r"manifest\.json does not exist; give a folder"),
    ("corrupt manifest", write("manifest.json", "{"), ArtifactError, r"is no edgesr manifest .*; export again"),
    ("version", write("manifest.json", '{"manifest_version": 7}'), ArtifactError, r"has version 7.*; export again"),
    ("no reference", remove_proofs("*[0-9a-f].safetensors"), ArtifactError, r"is missing, .* is proven by it"),
    (
        "no graph",
        remove_proofs("*.graph.safetensors"),
        ArtifactError,
        r"graph\.safetensors is missing, .*export it again",
    ),
    (
        "bad graph",
        damage_proofs("*.graph.safetensors"),
        ArtifactError,
        r"is no graph that edgesr wrote .*; export again",
    ),
    ("bad reference", damage_proofs("*[0-9a-f].safetensors"), CheckpointError, r"damaged safetensors file"),
]


@pytest.mark.parametrize(("damage", "kind", "message"), [d[1:] for d in DAMAGES], ids=[d[0] for d in DAMAGES])
def test_damaged_folders_are_refused(
    exported: Path, damage: Callable[[Path], object], kind: type[EdgeSRError], message: str
) -> None:
    damage(exported)
    with pytest.raises(kind, match=message) as caught:
        verify_parity(exported)
    assert "\n" not in str(caught.value) and str(exported) in str(caught.value)


def test_files_that_no_export_wrote_are_refused(exported: Path, tmp_path: Path) -> None:
    (exported / "other.tflite").write_bytes((exported / "spanv2_x2-fp32.tflite").read_bytes())
    for path, message in (
        (exported / "other.tflite", r"other\.tflite is not in .*manifest\.json; export it with edgesr export"),
        (exported / "nothing.tflite", r"nothing\.tflite does not exist; give a folder or an artifact"),
        (tmp_path / "nowhere", r"nowhere does not exist; give a folder or an artifact"),
        (tmp_path, r"manifest\.json does not exist; give a folder"),
    ):
        with pytest.raises(ArtifactError, match=message):
            verify_parity(path)


def test_a_target_of_a_later_edgesr_is_named(exported: Path) -> None:
    change_manifest(exported, "spanv2_x2-fp32.onnx", target="onnx-int2")
    with pytest.raises(ArtifactError, match="target 'onnx-int2' is unknown to this version of edgesr; upgrade it"):
        verify_parity(exported)


def test_quality_is_measured_beside_the_float_network(exported_once: Any, pairs: tuple[Path, Path]) -> None:
    results = verify_quality(exported_once.manifest.folder, *pairs)
    by_file = {result.file: result for result in results}
    assert set(by_file) == {artifact.file for artifact in exported_once.artifacts}
    assert len({id(result.reference) for result in results}) == 1
    assert results[0].reference.n == 3 and results[0].reference.crop == 2
    assert abs(by_file["spanv2_x2-fp32.tflite"].drop_db) < 1e-3 > abs(by_file["spanv2_x2-fp32.onnx"].drop_db)
    assert 1e-3 < abs(by_file["spanv2_x2-int8.tflite"].drop_db) < 3
    assert all(json.dumps(result.to_json()) for result in results)
    errors = {file: result.quality.network_errors for file, result in by_file.items()}
    assert all(found is not None and len(found.images) == 3 for found in errors.values())
    assert errors["spanv2_x2-fp32.tflite"].worst_shift_levels < 0.1 > errors["spanv2_x2-fp32.onnx"].worst_clipped_share
    assert 25 < errors["spanv2_x2-int8.tflite"].border_psnr_db < 60


def test_quality_of_one_file_in_one_runner(exported_once: Any, pairs: tuple[Path, Path]) -> None:
    (result,) = verify_quality(exported_once.manifest.folder / "spanv2_x2-int8.tflite", *pairs, "litert-reference")
    assert result.runner == "litert-reference"
    with pytest.raises(EdgeSRError, match="runner 'onnxruntime' runs no file of"):
        verify_quality(exported_once.manifest.folder / "spanv2_x2-int8.tflite", *pairs, "onnxruntime")


def test_pairs_that_are_none_are_refused(exported_once: Any, pairs: tuple[Path, Path], tmp_path: Path) -> None:
    folder, (lr, hr) = exported_once.manifest.folder, pairs
    (tmp_path / "empty").mkdir()
    save_png(tmp_path / "alone" / "alone.png", np.zeros((32, 32, 3), np.uint8))
    save_png(tmp_path / "small" / next(hr.iterdir()).name, np.zeros((8, 8, 3), np.uint8))
    for arguments, message in (
        ((lr, tmp_path / "empty"), "no images in"),
        ((lr, tmp_path / "nowhere"), "image folder not found"),
        ((lr, hr / next(hr.iterdir()).name), "is a file, not a folder"),
        ((lr, tmp_path / "alone"), "no partner in"),
        ((hr, hr), "do not fit: HR of 32x40 is not x2 of LR 32x40; pair images of this scale"),
    ):
        with pytest.raises(ImageError, match=message):
            verify_quality(folder / "spanv2_x2-fp32.onnx", *arguments)


def report(psnr_db: float) -> QualityReport:
    return QualityReport((ImageQuality("a.png", psnr_db, psnr_db, 1.0),), "lr", "hr", 2, 2)


@pytest.mark.parametrize(
    ("reference", "quality", "drop"),
    [(30.0, 29.5, 0.5), (29.0, 30.0, -1.0), (float("inf"), float("inf"), 0.0), (float("inf"), 40.0, float("inf"))],
)
def test_drop_is_what_the_float_network_has_more(reference: float, quality: float, drop: float) -> None:
    assert QualityComparison("a", "r", report(quality), report(reference)).drop_db == drop


def with_border(psnr_db: float | None) -> QualityReport:
    return QualityReport((ImageQuality("a.png", 30.0, 30.0, 1.0, psnr_db),), "lr", "hr", 2, 2)


def test_the_borders_drop_is_its_own() -> None:
    assert QualityComparison("a", "r", with_border(27.5), with_border(28.0)).border_drop_db == 0.5
    assert QualityComparison("a", "r", with_border(float("inf")), with_border(float("inf"))).border_drop_db == 0.0
    assert QualityComparison("a", "r", with_border(None), with_border(28.0)).border_drop_db is None


class Says:
    """A runner that always answers the same."""

    name = "fake"

    def __init__(self, answer: float) -> None:
        self.answer = answer

    def run(self, image: np.ndarray) -> np.ndarray:
        return np.full((1, *image.shape[1:]), self.answer, np.float32)


CONTRACT = IOContract(IODtype.FLOAT32, Layout.NHWC, 3, 1, 2.0, (), True)


def test_image_functions_map_bytes_to_bytes_over_the_value_range() -> None:
    assert as_image_function(Says(1.0), CONTRACT)(np.zeros((2, 3, 3), np.uint8)).tolist() == [[[128] * 3] * 3] * 2


def test_image_functions_refuse_other_channels_and_what_is_no_number() -> None:
    with pytest.raises(ImageError, match="takes 3 channels"):
        as_image_function(Says(0.0), CONTRACT)(np.zeros((2, 3, 1), np.uint8))
    with pytest.raises(ArtifactError, match="fake gives values that are no numbers"):
        as_image_function(Says(float("nan")), CONTRACT)(np.zeros((2, 3, 3), np.uint8))
