import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgesr.artifact import Manifest, load_manifest
from edgesr.images import load_rgb, save_png
from edgesr.target import TARGETS

Run = Callable[..., Any]


@pytest.fixture
def pairs(photos: Path, tmp_path: Path) -> tuple[str, ...]:
    """--lr and --hr of photographs and their 2x2 means."""
    for path in photos.iterdir():
        hr = load_rgb(path)[:32, :40]
        save_png(tmp_path / "HR" / path.name, hr)
        lr = hr.reshape(16, 2, 20, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
        save_png(tmp_path / "LR" / f"{path.stem}x2.png", lr)
    return "--lr", str(tmp_path / "LR"), "--hr", str(tmp_path / "HR")


@pytest.fixture
def faulty(exported: Path) -> Path:
    """An ONNX file one of whose convolutions is a thousandth too strong, and whose manifest vouches for it."""
    path = exported / "spanv2_x2-fp32.onnx"
    model = onnx.load(path)
    weight = next(x for x in model.graph.initializer if list(x.dims) == [8, 8, 3, 3])
    values = onnx.numpy_helper.to_array(weight) * np.float32(1.001)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    path.write_bytes(model.SerializeToString())
    manifest = load_manifest(exported)
    changed = dataclasses.replace(manifest.find(path.name), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    Manifest(exported, tuple(changed if a.file == path.name else a for a in manifest.artifacts)).save()
    return path


def table(output: str, title: str) -> list[list[str]]:
    """The rows of the table whose third column has this title."""
    lines = output.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("file") and f"  {title}  " in line)
    end = next((i for i in range(start, len(lines)) if not lines[i]), len(lines))
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[start + 2 : end]]


def test_a_folder_is_summed_up_by_its_worst_cases(run: Run, exported_once: Any) -> None:
    output = run("verify", "parity", exported_once.manifest.folder).done()
    images, operators = table(output, "worst image"), table(output, "worst operator")
    floats, integers = (
        2 * (2 + 1),
        2 * (3 + 2),
    )  # TFLite runs in two runtimes; exact integers stand beside integer files
    assert len(images) == 2 * (floats + integers) and len(operators) == 4 * 2 + 4
    for natural in (True, False):
        assert sum(row[2].startswith("natural") == natural for row in images) == floats + integers
    assert all(row[1] != "graph" for row in images)
    assert all(row[-1] == "ok" for row in (*images, *operators))
    checks = output.splitlines()[-1].split()
    assert checks[0] == checks[2] and checks[3:] == ["checks", "within", "limits"]


def test_every_image_and_operator_on_demand(run: Run, exported_once: Any, photos: Path) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-int8.tflite"
    output = run("verify", "parity", path, "--runner", "litert-reference", "--cases", "--operators").done()
    assert len(table(output, "image")) == 2 * 7
    operators = table(output, "operator")
    assert {row[1] for row in operators} == {"litert-reference"} and len(operators) > 12
    assert all(row[4] in ("0", "1") for row in operators), "steps of an integer"
    output = run("verify", "parity", path, "--images", photos, "--cases", "--runner", "litert-reference").done()
    assert "natural 40x48" in {row[2] for row in table(output, "image")}


def test_images_of_one_pixel_are_few_but_no_error(run: Run, exported_once: Any, tmp_path: Path) -> None:
    save_png(tmp_path / "one.png", np.full((1, 1, 3), 200, np.uint8))
    path = exported_once.manifest.folder / "spanv2_x2-int8.onnx"
    assert "natural 1x1" in run("verify", "parity", path, "--images", tmp_path).done()


def test_images_that_cannot_be_used(run: Run, exported_once: Any, tmp_path: Path) -> None:
    path, images = exported_once.manifest.folder / "spanv2_x2-int8.onnx", tmp_path / "images"
    assert run("verify", "parity", path, "--images", images).refused().startswith("image folder not found: ")
    images.mkdir()
    assert run("verify", "parity", path, "--images", images).refused().startswith("no images in ")
    (images / "a.png").write_bytes(b"no picture")
    assert "a.png is not an image in a known format" in run("verify", "parity", path, "--images", images).refused()


def test_parity_as_json(run: Run, exported_once: Any) -> None:
    plain = json.loads(run("verify", "parity", exported_once.manifest.folder / "spanv2_x2-fp16.onnx", "--json").done())
    parts = {"end_to_end", "operators", "first_divergences", "error_sources"}
    assert (
        set(plain) == {"passed", "sha256", "emulated", *parts} and plain["passed"] is True and plain["emulated"] == []
    )
    assert {"file", "runner", "case", "max_abs", "relative_l2", "psnr_db", "passed", "why"} <= set(
        plain["end_to_end"][0]
    )
    assert {"file", "runner", "operator", "kind", "max_lsb", "sqnr_db", "passed"} <= set(plain["operators"][0])


def test_where_an_int8_error_comes_from(run: Run, exported_once: Any) -> None:
    """Three operators, a line for each pair of runtimes, and the last line as ever."""
    lines = run("verify", "parity", exported_once.manifest.folder).done().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Where the error comes from: "))
    assert lines[start].startswith("Where the error comes from: spanv2_x2-int8.tflite in litert-xnnpack, natural ")
    shares = [float(line.split(" %")[0].split()[-1]) for line in lines[start + 3 : start + 6]]
    assert shares == sorted(shares, reverse=True) and "of the whole error, " in lines[start + 6]
    start = lines.index("First divergence between runtimes: spanv2_x2-int8")
    pairs = [line.split()[:2] for line in lines[start + 3 : start + 9]]
    assert ["graph-int8", "litert-xnnpack"] in pairs and ["litert-reference", "onnxruntime"] in pairs
    start = next(i for i, line in enumerate(lines) if line.startswith("8-bit pictures against the float network's"))
    assert lines[start + 1].split()[-2:] == ["cut", "off"] and "graph" not in " ".join(lines[start + 3 : start + 12])
    floats = run("verify", "parity", exported_once.manifest.folder / "spanv2_x2-fp32.onnx").done()
    assert "Where the error comes from" not in floats and "First divergence" not in floats


def test_operators_with_their_own_errors_and_ranges(run: Run, exported_once: Any) -> None:
    def tensors(file: str, runner: str) -> dict[str, list[str]]:
        lines = run("verify", "parity", exported_once.manifest.folder / file, "--operators").done().splitlines()
        start = lines.index(f"{file} in {runner}: what each operator adds, and what its integers hold") + 3
        end = lines.index("", start)
        return {line.split()[0]: [x for x in line.split("  ") if x.strip()][1:] for line in lines[start:end]}

    integers = tensors("spanv2_x2-int8.onnx", "onnxruntime")
    own, accumulated, values, bits, span, clipped, railed = (cell.strip() for cell in integers["block_1.c1.conv"])
    assert float(own) >= float(accumulated) and bits == "8" and values.startswith("0 .. ") and span.startswith("0 .. ")
    assert clipped.endswith("%") and railed.endswith("%")
    assert integers["pixel_shuffle"][-2].strip().startswith("("), "saturation there is the image's own clip"
    floats = tensors("spanv2_x2-fp32.tflite", "litert-reference")
    assert [cell.strip() for cell in floats["block_1.c1.conv"]][3:] == ["-"] * 4


def test_parity_of_equal_pictures_is_no_number_in_json(run: Run, exported_once: Any) -> None:
    """Float files give the network's bytes: an infinite PSNR, which JSON has no number for."""
    plain = json.loads(run("verify", "parity", exported_once.manifest.folder / "spanv2_x2-fp32.onnx", "--json").done())
    pictures = [row["picture"] for row in plain["end_to_end"] if row["picture"] is not None]
    assert len(pictures) == 6 and {picture["border_psnr_db"] for picture in pictures} == {"inf"}


def test_a_gate_that_is_not_met_names_file_runner_and_operator(run: Run, faulty: Path) -> None:
    outcome = run("verify", "parity", faulty)
    assert outcome.code == 3 and outcome.err.count("\n") == 1
    assert outcome.err.startswith("edgesr: spanv2_x2-fp32.onnx: onnxruntime on natural") and " more); " in outcome.err
    (failed,) = (row for row in table(outcome.out, "worst operator") if "FAILS" in row[-1])
    assert failed[1] == "onnxruntime" and "conv" in failed[2]
    rows = table(outcome.out, "worst image")
    assert len(rows) > 2 and all(row[1] == "onnxruntime" and row[-1].startswith("FAILS: ") for row in rows)
    passed, _, checks, *_ = outcome.out.splitlines()[-1].split()
    assert 0 < int(passed) < int(checks)
    assert run("verify", "parity", faulty, "-q").refused(3).startswith("spanv2_x2-fp32.onnx: onnxruntime on natural")
    as_json = run("verify", "parity", faulty, "--json")
    assert as_json.code == 3 and json.loads(as_json.out)["passed"] is False


def test_runners_that_check_nothing(run: Run, exported_once: Any) -> None:
    folder = exported_once.manifest.folder
    assert "no runner is called 'snpe'; choose from" in run("verify", "parity", folder, "--runner", "snpe").refused()
    message = run("verify", "parity", folder / "spanv2_x2-fp32.onnx", "--runner", "litert-xnnpack").refused()
    assert "runs no file of" in message and message.endswith("; choose from onnxruntime")


def test_quality_beside_the_float_network(run: Run, exported_once: Any, pairs: tuple[str, ...]) -> None:
    lines = run("verify", "quality", exported_once.manifest.folder, *pairs).done().splitlines()
    assert lines[0].split() == ["file", "runner", "PSNR", "dB", "Y-PSNR", "dB", "SSIM", "drop", "dB"]
    assert lines[2].startswith("PyTorch FP32") and len(lines) == 11 + 2 * len(TARGETS)
    assert max(map(len, lines)) <= 110
    drops = {line.split()[0]: float(line.split()[-1]) for line in lines[3 : 3 + len(TARGETS)]}
    assert drops["spanv2_x2-fp32.onnx"] == drops["spanv2_x2-fp32.tflite"] == 0.0 != drops["spanv2_x2-int8.onnx"]
    assert lines[4 + len(TARGETS)].split("  ")[0] == "against PyTorch FP32"
    integers = next(line for line in lines[6 + len(TARGETS) :] if line.startswith("spanv2_x2-int8.onnx")).split()
    assert 20 < float(integers[1]) < 60 and 20 < float(integers[2]) < 60, "dB of the interior and of the border"
    assert all(abs(float(shift)) < 2 for shift in integers[4:7])
    assert lines[-1].startswith("3 images of ") and lines[-1].endswith("LR, 2-pixel crop, uint8")


def test_quality_as_json_and_in_silence(run: Run, exported_once: Any, pairs: tuple[str, ...]) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-int8.tflite"
    (result,) = json.loads(run("verify", "quality", path, *pairs, "--runner", "litert-reference", "--json").done())[
        "results"
    ]
    assert set(result) == {"file", "sha256", "runner", "emulated", "drop_db", "border_drop_db", "quality", "reference"}
    against = result["quality"]["against_network"]
    assert len(against["shift_levels"]) == 3 and {"white_share", "black_share", "worst_clipped_share"} <= set(against)
    assert result["reference"]["against_network"] is None
    lost = result["reference"]["border_psnr_db"] - result["quality"]["border_psnr_db"]
    assert result["border_drop_db"] == pytest.approx(lost)
    assert (result["runner"], result["quality"]["n"]) == ("litert-reference", 3)
    assert result["drop_db"] == pytest.approx(result["reference"]["psnr_db"] - result["quality"]["psnr_db"])
    assert run("verify", "quality", path, *pairs, "--max-drop", "50", "--quiet").done() == ""


def test_a_drop_beyond_the_gate_is_told_after_the_table(run: Run, exported_once: Any, pairs: tuple[str, ...]) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-int8.onnx"
    outcome = run("verify", "quality", path, *pairs, "--max-drop", "-50")
    assert outcome.code == 3 and "PyTorch FP32" in outcome.out and outcome.err.count("\n") == 1
    assert outcome.err.startswith("edgesr: spanv2_x2-int8.onnx in onnxruntime drops ")
    assert "more than the -50 dB of --max-drop; " in outcome.err


def test_pairs_that_are_none(run: Run, exported_once: Any, pairs: tuple[str, ...], tmp_path: Path) -> None:
    _, lr, _, hr = pairs
    (tmp_path / "empty").mkdir()
    first = sorted(Path(hr).iterdir())[0]
    for folder, words in (
        (tmp_path / "empty", "no images in "),
        (tmp_path / "nowhere", "image folder not found: "),
        (first, "is a file, not a folder of images; give its folder"),
        (lr, "do not fit: HR of 16x20 is not x2 of LR 16x20; pair images of this scale"),
    ):
        assert words in run("verify", "quality", exported_once.manifest.folder, "--lr", lr, "--hr", folder).refused()
    first.unlink()
    assert "no partner in " in run("verify", "quality", exported_once.manifest.folder, *pairs).refused()


def test_verify_alone_shows_its_help(run: Run) -> None:
    outcome = run("verify")
    assert outcome.code == 2 and outcome.out == ""
    assert "parity   Compare files with the PyTorch network, end to end and by operator." in outcome.err
