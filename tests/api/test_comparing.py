"""Two artifacts or folders beside each other: what is equal, what differs, what matters and by which rule."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesr.api import Timing, compare
from edgesr.api.compare_rows import CompareRow, Verdict, exact_number, fact, measured
from edgesr.api.comparing import ArtifactComparison
from edgesr.artifact import load_manifest
from edgesr.errors import ArtifactError


@pytest.fixture(scope="module")
def folder(exported_once: Any) -> Path:
    return Path(exported_once.manifest.folder)


@pytest.fixture(scope="module")
def int8_and_fp32(folder: Path) -> ArtifactComparison:
    (pair,) = compare(file_of(folder, "tflite-int8"), file_of(folder, "tflite-fp32")).pairs
    return pair


def file_of(folder: Path, target: str) -> Path:
    (artifact,) = [a for a in load_manifest(folder).artifacts if a.target == target]
    return folder / artifact.file


def row(pair: ArtifactComparison, subject: str, what: str) -> CompareRow:
    (found,) = [row for row in pair.rows if (row.subject, row.what) == (subject, what)]
    return found


def test_a_file_is_equal_to_itself(folder: Path) -> None:
    file = file_of(folder, "tflite-int8")
    (pair,) = compare(file, file).pairs
    assert {row.verdict for row in pair.rows} == {Verdict.EQUAL} and pair.notes == ()
    assert row(pair, "outputs", "PSNR to each other, dB").second == "inf"
    assert {"file", "network", "precision", "contract", "operators", "NPU", "parity", "outputs"} == {
        row.subject for row in pair.rows
    }


def test_precision_contract_and_operators_are_the_files_own(int8_and_fp32: ArtifactComparison, folder: Path) -> None:
    pair = int8_and_fp32
    for subject, what, first, second in (
        ("precision", "target", "int8", "fp32"),
        ("contract", "dtype", "int8", "float32"),
        ("contract", "zero point", -128, None),
        ("operators", "DEPTHWISE_CONV_2D", 0, 1),
        ("file", "size", *(file_of(folder, f"tflite-{name}").stat().st_size for name in ("int8", "fp32"))),
    ):
        found = row(pair, subject, what)
        assert (found.first, found.second, found.verdict) == (first, second, Verdict.MATTERS), found
    assert row(pair, "contract", "upscale").verdict is Verdict.EQUAL
    ethos = row(pair, "NPU", "ethos-u85")
    assert (ethos.first, ethos.second, ethos.verdict) == ("1 refused", "all refused", Verdict.MATTERS)


def test_outputs_are_compared_with_each_other(int8_and_fp32: ArtifactComparison, folder: Path) -> None:
    """The PSNR is that of the bytes of both on the builtin photographs, computed a second way."""
    from edgesr.api.running import open_artifact
    from edgesr.images import load_rgb
    from edgesr.quant.builtin import builtin_calibration_paths

    tiled = [open_artifact(file_of(folder, f"tflite-{name}")).tiled for name in ("int8", "fp32")]
    images = [load_rgb(path)[None] for path in builtin_calibration_paths()[:4]]
    gaps = np.concatenate(
        [(tiled[0].run_bytes(x).astype(float) - tiled[1].run_bytes(x).astype(float)).ravel() for x in images]
    )
    psnr = row(int8_and_fp32, "outputs", "PSNR to each other, dB")
    assert psnr.second == pytest.approx(10 * math.log10(255**2 / np.square(gaps).mean()))
    assert row(int8_and_fp32, "outputs", "largest difference, levels of 255").second == np.abs(gaps).max()
    assert row(int8_and_fp32, "outputs", "share of values that differ").second == (gaps != 0).mean()
    loss_db = 10 * math.log10(1 + 10 ** ((30 - float(str(psnr.second))) / 10))
    assert psnr.verdict is (Verdict.MATTERS if loss_db >= 0.02 else Verdict.SMALL)


def test_folders_are_paired_by_what_their_files_are(exported: Path, folder: Path) -> None:
    manifest = load_manifest(exported)
    (left,) = [a for a in manifest.artifacts if a.target == "onnx-fp16"]
    replace(manifest, artifacts=tuple(a for a in manifest.artifacts if a is not left)[::-1]).save()
    found = compare(folder, exported)
    assert [pair.first.name for pair in found.pairs] == [pair.second.name for pair in found.pairs]
    assert len(found.pairs) == 7 and found.alone == (str(folder / left.file),)
    assert not any(pair.differences for pair in found.pairs)


def test_a_file_meets_its_like_in_a_folder(folder: Path) -> None:
    found = compare(file_of(folder, "onnx-int8"), folder)
    (pair,) = found.pairs
    assert pair.second.name == pair.first.name and len(found.alone) == 7


def test_other_sizes_of_output_are_no_outputs_to_compare(exported: Path, folder: Path) -> None:
    manifest = load_manifest(exported)
    (artifact,) = [a for a in manifest.artifacts if a.target == "tflite-fp32"]
    other = replace(artifact, contract=replace(artifact.contract, upscale=4))
    replace(manifest, artifacts=(other,)).save()
    (pair,) = compare(file_of(folder, "tflite-fp32"), exported).pairs
    assert pair.notes == ("outputs are not compared: they have other sizes or channels",)
    assert row(pair, "contract", "upscale").verdict is Verdict.MATTERS


def test_what_shares_no_target_is_refused(exported: Path, folder: Path) -> None:
    manifest = load_manifest(exported)
    replace(manifest, artifacts=tuple(a for a in manifest.artifacts if a.target != "tflite-int8")).save()
    with pytest.raises(ArtifactError, match=r"share no target; name one file of each"):
        compare(file_of(folder, "tflite-int8"), exported)


def test_a_changed_file_is_refused(exported: Path, folder: Path) -> None:
    path = file_of(exported, "tflite-int8")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ArtifactError, match="was changed after its export"):
        compare(file_of(folder, "tflite-int8"), path)


def test_quality_is_measured_on_pairs(folder: Path, lr_and_hr: tuple[Path, Path]) -> None:
    (pair,) = compare(file_of(folder, "tflite-int8"), file_of(folder, "tflite-fp32"), lr_and_hr).pairs
    quality = [row for row in pair.rows if row.subject == "quality"]
    assert len(quality) == 4
    drop = row(pair, "quality", "drop against the float network, dB")
    assert isinstance(drop.first, float) and abs(float(drop.second)) < 1e-3 < abs(drop.first)  # type: ignore[arg-type]  # a number, as above  # fmt: skip
    assert "3 images: too few to know the noise" in quality[0].change


def test_quality_of_folders_is_that_of_each_file(exported: Path, folder: Path, lr_and_hr: tuple[Path, Path]) -> None:
    manifest = load_manifest(exported)
    few = tuple(a for a in manifest.artifacts if a.target in ("tflite-int8", "onnx-fp32"))
    replace(manifest, artifacts=few[::-1]).save()
    pairs = compare(folder, exported, lr_and_hr).pairs
    assert len(pairs) == 2
    for pair in pairs:
        (alone,) = compare(pair.first, pair.second, lr_and_hr).pairs
        assert [r for r in pair.rows if r.subject == "quality"] == [r for r in alone.rows if r.subject == "quality"]


def test_latency_is_measured_in_turns(folder: Path, tmp_path: Path) -> None:
    """Two folders in one run; a single process knows nothing of its noise, and nothing is called."""
    other = tmp_path / "a folder, elsewhere"
    shutil.copytree(folder, other)
    files = file_of(folder, "tflite-int8"), file_of(other, "onnx-int8")
    (pair,) = compare(*files, timing=Timing(runs=3, size=(16, 16), blocks=1)).pairs
    (latency,) = [row for row in pair.rows if row.subject == "latency"]
    assert isinstance(latency.first, float) and isinstance(latency.second, float)
    assert latency.first > 0 < latency.second and latency.verdict is Verdict.SMALL
    assert "16x16" in latency.what and "noise unknown" in latency.change


def test_rules_decide_at_their_threshold() -> None:
    assert fact("x", "y", 1, 1).verdict is Verdict.EQUAL and fact("x", "y", 1, None).verdict is Verdict.MATTERS
    assert exact_number("x", "y", 1000, 1019).verdict is Verdict.SMALL
    assert exact_number("x", "y", 1000, 1020).verdict is Verdict.MATTERS
    assert exact_number("x", "y", 1000, 980).change == "-2.0%"
    assert exact_number("x", "y", None, 980).verdict is Verdict.MATTERS
    assert measured("x", "y", (30.0, 30.019), 0.02, 3).verdict is Verdict.SMALL
    assert measured("x", "y", (30.0, 29.97), 0.02, 3).verdict is Verdict.MATTERS
    assert measured("x", "y", (30.0, 29.97), 0.02, 3, seen=False).verdict is Verdict.SMALL
    assert measured("x", "y", (math.inf, math.inf), 0.02, 3).verdict is Verdict.EQUAL
