import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgesr.api import verify_quality
from edgesr.api.peers import PeerResult, prepare_contest
from edgesr.architecture import SRModel
from edgesr.artifact import Manifest, load_manifest
from edgesr.errors import ArtifactError, CalibrationError, MissingBackendError
from edgesr.export.peers.onnxruntime import OnnxRuntime
from edgesr.export.peers.peer import PeerFile, float_contract
from edgesr.images import list_images, load_rgb
from edgesr.progress import Progress
from edgesr.quant.images import load_calibration_images
from edgesr.runtime.quality import QualityReport
from edgesr.target import Layout

INT8 = "spanv2_x2-int8.tflite"
Pairs = tuple[Path, Path]


class FakePeer:
    """Writes a file for each size that repeats pixels, and remembers what it was given."""

    name = "fake"
    distributions: tuple[str, ...] = ("onnx",)
    extra: str | None = "fake"
    runner = "onnxruntime"
    settings = "repeats pixels"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.images: Sequence[NDArray[np.uint8]] = ()
        self.sizes: Sequence[tuple[int, int]] = ()

    def quantize(
        self,
        model: SRModel,
        images: Sequence[NDArray[np.uint8]],
        sizes: Sequence[tuple[int, int]],
        folder: Path,
        progress: Progress,
    ) -> tuple[PeerFile, ...]:
        print("the fake begins")
        self.images, self.sizes = images, sizes
        if self.error:
            raise self.error
        return tuple(PeerFile(repeating(size, folder), float_contract(model, Layout.NHWC, size)) for size in sizes)


def repeating(size: tuple[int, int], folder: Path) -> Path:
    """An ONNX file that enlarges images (1, H, W, 3) of one size twice."""
    height, width = size
    edges = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, k * height, k * width, 3])
        for name, k in (("image", 1), ("output", 2))
    ]
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 2, 2, 1])
    node = helper.make_node("Resize", ["image", "", "scales"], ["output"], mode="nearest")
    graph = helper.make_graph([node], "repeat", edges[:1], edges[1:], [scales])
    path = folder / f"{height}x{width}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def missing(name: str = "absent") -> FakePeer:
    peer = FakePeer()
    peer.name, peer.distributions = name, ("no-such-distribution",)
    return peer


@pytest.fixture
def path(exported_once: Any) -> Path:
    return Path(exported_once.manifest.folder / INT8)


@pytest.fixture
def reference(path: Path, lr_and_hr: Pairs) -> QualityReport:
    return verify_quality(path, *lr_and_hr)[0].reference


def pixels(images: Sequence[NDArray[np.uint8]]) -> list[bytes]:
    return [image.tobytes() for image in images]


def test_peers_get_the_network_the_images_that_calibrated_and_the_measured_sizes(
    path: Path, photos: Path, lr_and_hr: Pairs, reference: QualityReport
) -> None:
    peer = FakePeer()
    (result,) = prepare_contest(path, [peer]).measure(*lr_and_hr, reference)
    assert pixels(peer.images) == pixels([load_rgb(image) for image in list_images(photos)])
    assert list(peer.sizes) == [(12, 20), (16, 20)]
    assert result.quality is not None and result.quality.n == 3 and result.why_not is None
    assert [image.name for image in result.quality.images] == [image.name for image in reference.images]
    assert result.drop_db == pytest.approx(reference.psnr_db - result.quality.psnr_db)
    assert result.tool.startswith("onnx ") and result.runner == "onnxruntime"


def test_onnxruntime_is_quantized_and_measured(path: Path, lr_and_hr: Pairs, reference: QualityReport) -> None:
    (result,) = prepare_contest(path, [OnnxRuntime()]).measure(*lr_and_hr, reference)
    assert result.why_not is None and result.drop_db is not None and 1e-3 < abs(result.drop_db) < 3
    assert json.dumps(result.to_json())


def test_what_a_peer_prints_is_not_seen(
    path: Path, lr_and_hr: Pairs, reference: QualityReport, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare_contest(path, [FakePeer()]).measure(*lr_and_hr, reference)
    assert capfd.readouterr() == ("", "")


def test_a_missing_peer_is_a_result_beside_the_others(path: Path, lr_and_hr: Pairs, reference: QualityReport) -> None:
    absent, present = prepare_contest(path, [missing(), FakePeer()]).measure(*lr_and_hr, reference)
    assert not absent.installed and absent.drop_db is None
    assert absent.why_not == 'not installed: pip install "edgesr[fake]"'
    assert present.installed and present.quality is not None
    assert absent.to_json()["quality"] is None


def test_none_installed_is_an_error(path: Path) -> None:
    words = r'^none of the peers is installed \(a, b\); run pip install "edgesr\[fake\]"$'
    with pytest.raises(MissingBackendError, match=words):
        prepare_contest(path, [missing("a"), missing("b")])


def test_a_failing_peer_is_a_result_in_one_line(path: Path, lr_and_hr: Pairs, reference: QualityReport) -> None:
    peers = [FakePeer(RuntimeError("no such operator\nand a stack of lines")), FakePeer(AssertionError()), FakePeer()]
    first, second, last = prepare_contest(path, peers).measure(*lr_and_hr, reference)
    assert first.why_not == "RuntimeError: no such operator" and first.installed and first.drop_db is None
    assert second.why_not == "AssertionError: AssertionError"
    assert last.quality is not None


def test_a_peer_whose_files_take_other_sizes_fails(
    path: Path, lr_and_hr: Pairs, reference: QualityReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = FakePeer.quantize
    monkeypatch.setattr(FakePeer, "quantize", lambda *given: whole(*given)[:1])
    (result,) = prepare_contest(path, [FakePeer()]).measure(*lr_and_hr, reference)
    assert result.why_not is not None and "no file takes 16x20" in result.why_not


def recorded_as(folder: Path, source: str, count: int) -> Path:
    """The folder, its INT8 files calibrated on other images by what the manifest says."""
    manifest = load_manifest(folder)
    artifacts = tuple(
        dataclasses.replace(a, facts={**a.facts, "quantization": {"calibration_source": source, **counted(count)}})
        if "quantization" in a.facts
        else a
        for a in manifest.artifacts
    )
    Manifest(folder, artifacts).save()
    return folder


def counted(count: int) -> dict[str, object]:
    return {"calibration_images": count}


def test_the_builtin_set_is_known_by_its_name(exported: Path) -> None:
    contest = prepare_contest(recorded_as(exported, "builtin", 36), [FakePeer()])
    assert contest.images.source == "builtin"
    assert pixels(contest.images.pieces) == pixels(load_calibration_images(None).pieces)


def test_calibration_images_that_are_gone_or_others_are_refused(exported: Path, photos: Path, tmp_path: Path) -> None:
    kept = shutil.copytree(photos, tmp_path / "kept")
    for source, count, words in (
        (
            tmp_path / "gone",
            3,
            r"cannot be read now \(image folder not found: .*gone\); give the same ones with --calib",
        ),
        (kept, 4, r"kept holds 3 usable images now, .* was calibrated on 4; give the same ones with --calib DIR"),
    ):
        with pytest.raises(CalibrationError, match=words):
            prepare_contest(recorded_as(exported, str(source), count), [FakePeer()])
    given = prepare_contest(recorded_as(exported, str(tmp_path / "gone"), 3), [FakePeer()], kept)
    assert given.images.source == str(kept) and len(given.images.names) == 3


def test_float_files_alone_do_not_say_what_to_calibrate_on(exported_once: Any, photos: Path) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-fp32.onnx"
    with pytest.raises(CalibrationError, match="none of its files is quantized; give those for the peers with --calib"):
        prepare_contest(path, [FakePeer()])
    assert prepare_contest(path, [FakePeer()], photos).images.source == str(photos)


def test_files_of_two_networks_are_not_compared_at_once(exported: Path) -> None:
    manifest = load_manifest(exported)
    first, *others = manifest.artifacts
    Manifest(exported, (dataclasses.replace(first, reference="reference/other.safetensors"), *others)).save()
    with pytest.raises(ArtifactError, match="holds files of 2 networks; compare one of its files with peers"):
        prepare_contest(exported, [FakePeer()])


def test_equal_infinities_are_no_drop(reference: QualityReport) -> None:
    perfect = dataclasses.replace(
        reference, images=tuple(dataclasses.replace(image, psnr_db=float("inf")) for image in reference.images)
    )
    assert PeerResult("a", "a 1", "", "onnxruntime", perfect, perfect).drop_db == 0.0
