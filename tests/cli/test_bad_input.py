"""Everything that a user can get wrong ends in one line that says what to do, and in nothing half-written or lost."""

import json
import os
import pickle
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

Run = Callable[..., Any]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Touch:
    """Pickles to a call that would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def state(checkpoint: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)
    return loaded


def truncated(good: Path, bad: Path) -> None:
    bad.write_bytes(good.read_bytes()[:-500])


def text(good: Path, bad: Path) -> None:
    bad.write_text("these are no weights at all")


def empty(good: Path, bad: Path) -> None:
    bad.touch()


def code(good: Path, bad: Path) -> None:
    torch.save({"params": state(good), "hook": Touch(bad.with_name("executed"))}, bad)


def plain_pickle(good: Path, bad: Path) -> None:
    bad.write_bytes(pickle.dumps(Touch(bad.with_name("executed"))))


def not_a_number(good: Path, bad: Path) -> None:
    weights = state(good)
    weights["conv_near.weight"][0] = float("nan")
    torch.save(weights, bad)


def other_architecture(good: Path, bad: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(4, 3, 3, 3)}, bad)


def missing_keys(good: Path, bad: Path) -> None:
    weights = state(good)
    del weights["block_2.c2.conv.weight"]
    torch.save(weights, bad)


def missing_file(good: Path, bad: Path) -> None:
    pass


def folder(good: Path, bad: Path) -> None:
    bad.mkdir()


CHECKPOINTS: list[tuple[Callable[[Path, Path], None], str]] = [
    (truncated, "truncated or damaged PyTorch file; copy or download it again"),
    (text, "neither a PyTorch nor a safetensors file; give a .pth"),
    (empty, "is empty; copy or download it again"),
    (code, "holds code (posix.system), which is never run; save only the weights"),
    (plain_pickle, "never run; save only the weights"),
    (not_a_number, "conv_near.weight holds 9 NaN or infinite of"),
    (other_architecture, "no known architecture has these keys (features.0.weight); spanv2 matches 0 of 5 keys"),
    (missing_keys, "block_2.c2.conv.weight"),
    (missing_file, "no such weights file; check the path"),
    (folder, "is a folder; name the weights file in it"),
]


@pytest.mark.parametrize(("make", "words"), CHECKPOINTS, ids=[make.__name__ for make, _ in CHECKPOINTS])
def test_checkpoints_that_cannot_be_used(
    run: Run, small_checkpoint: Path, tmp_path: Path, make: Callable[[Path, Path], None], words: str
) -> None:
    bad, out = tmp_path / "bad.pth", tmp_path / "out"
    make(small_checkpoint, bad)
    for arguments in ((bad,), ("--weights", bad)):
        message = run("export", *arguments, "-t", "tflite-fp32", "-o", out).refused()
        assert message.startswith(f"{bad}: ") and words in message
    assert not out.exists() and not (tmp_path / "executed").exists()


def test_a_bad_checkpoint_leaves_an_earlier_export_alone(run: Run, exported: Path, tmp_path: Path) -> None:
    before = bytes_of(exported)
    text(tmp_path, tmp_path / "bad.pth")
    run("export", tmp_path / "bad.pth", "-o", exported).refused()
    assert bytes_of(exported) == before


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(exist_ok=True)
    image.save(path)


def no_images(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("no image")


def no_folder(path: Path) -> None:
    pass


def a_file(path: Path) -> None:
    path.write_text("no folder")


def unreadable(path: Path) -> None:
    save(path / "a.png", Image.new("RGB", (80, 80), "red"))
    (path / "b.png").write_bytes((path / "a.png").read_bytes()[:60])


def no_image_at_all(path: Path) -> None:
    path.mkdir()
    (path / "b.png").write_text("no picture")


def one_pixel(path: Path) -> None:
    for name in "abc":
        save(path / f"{name}.png", Image.new("RGB", (1, 1), "red"))


def huge(path: Path) -> None:
    save(path / "sheet.png", Image.new("1", (12_000, 9_000)))


FOLDERS: list[tuple[Callable[[Path], None], str]] = [
    (no_images, "no images in {}; put PNG, JPEG, WebP, BMP or TIFF files directly into it"),
    (no_folder, "image folder not found: {}; check the name"),
    (a_file, "{} is a file, not a folder of images; give its folder"),
    (unreadable, "cannot decode {}/b.png: "),
    (no_image_at_all, "{}/b.png is not an image in a known format; give PNG"),
    (one_pixel, "{}: the images hold fewer than 4096 pixels together, too few to calibrate on; give some dozen"),
    (huge, "{}/sheet.png is 12000x9000, over the limit of 100 megapixels; crop or downscale it"),
]


@pytest.mark.parametrize(("make", "words"), FOLDERS, ids=[make.__name__ for make, _ in FOLDERS])
def test_calibration_folders_that_cannot_be_used(
    run: Run, small_checkpoint: Path, tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    calib, out = tmp_path / "calib", tmp_path / "out"
    make(calib)
    message = run("export", small_checkpoint, "--calib", calib, "-o", out).refused()
    assert message.startswith(words.format(calib))
    assert not out.exists()


def test_grey_deep_and_transparent_pictures_calibrate(run: Run, small_checkpoint: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (48, 64, 4), dtype=np.uint8)
    calib, out = tmp_path / "calib", tmp_path / "out"
    save(calib / "grey.png", Image.fromarray(values[:, :, 0]))
    save(calib / "deep.png", Image.fromarray(values[:, :, 0].astype(np.uint16) * 257))
    save(calib / "alpha.png", Image.fromarray(values))
    save(calib / "tiny.png", Image.new("RGB", (1, 1)))
    run("export", small_checkpoint, "--calib", calib, "-q", "-o", out).done()
    facts = json.loads((out / "manifest.json").read_text())["artifacts"][0]["facts"]
    assert facts["quantization"]["calibration_images"] == 4


USAGE: list[tuple[tuple[str, ...], str]] = [
    (("-t", "tflite-in8"), "no target is called 'tflite-in8'; did you mean tflite-int8"),
    (("-t", "zzz"), "no target is called 'zzz'; edgesr targets lists them"),
    (("spanv2_x3",), "no bundled model or file is called 'spanv2_x3'; did you mean spanv2_x4?"),
    (("qqq",), "no bundled model or file is called 'qqq'; choose from spanv2_x4, or give --weights FILE"),
    (("a.pth", "--weights", "b.pth"), "both MODEL (a.pth) and --weights (b.pth) name a file; give one"),
    (("--size", "0x3"), "'0x3' is no size; write height x width of the input image, like 270x480"),
    (("--size", "3"), "'3' is no size"),
    (("--size", "-1x2"), "'-1x2' is no size"),
    (("--size", "1e9x1"), "'1e9x1' is no size"),
    (("--size", "12x"), "'12x' is no size"),
    (("--size", "٣x٣"), "is no size"),
    (("--size", "100000x100000"), "'100000x100000' is too large; a side has at most 99999 pixels"),
    (("--io", "float16"), "'float16' is not"),
    (("--layout", "chwn"), "'chwn' is not"),
    (("--effort", "heroic"), "'heroic' is not"),
    (("--colour", "red"), "No such option"),
    (("one", "two"), "unexpected extra argument"),
]


@pytest.mark.parametrize(("arguments", "words"), USAGE, ids=[" ".join(arguments) for arguments, _ in USAGE])
def test_misuse_of_export(run: Run, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    message = run("export", *arguments, "-o", tmp_path / "out").refused(2)
    assert words in message and message.endswith("; see edgesr export --help") and ".;" not in message
    assert not (tmp_path / "out").exists()


OTHER_USAGE: list[tuple[tuple[str, ...], str]] = [
    (("export",), "Missing option '--output' / '-o'; see edgesr export --help"),
    (("verify", "parity"), "Missing argument 'PATH'; see edgesr verify parity --help"),
    (("verify", "quality", "x", "--hr", "y"), "Missing option '--lr'; see edgesr verify quality --help"),
    (("verify", "quality", "x", "--lr", "y", "--hr", "z", "--max-drop", "nan"), "'nan' is no number of decibels"),
    (("bench", "x", "--runs", "0"), "0 is not in the range x>=1; see edgesr bench --help"),
    (("bench", "x", "--threads", "100000"), "100000 is not in the range"),
    (("bench", "x", "--device", "toaster"), "no device is called 'toaster'; choose host"),
    (("exprot",), "No such command 'exprot'"),
]


@pytest.mark.parametrize(("arguments", "words"), OTHER_USAGE, ids=[" ".join(a) for a, _ in OTHER_USAGE])
def test_misuse_of_other_commands(run: Run, arguments: tuple[str, ...], words: str) -> None:
    assert words in run(*arguments).refused(2)


COMBINATIONS: list[tuple[tuple[str, ...], str]] = [
    (("-t", "tflite-fp32", "--io", "uint8"), "tflite-fp32 has no uint8 I/O; choose from float32"),
    (("-t", "tflite-int8", "--layout", "nchw"), "tflite-int8 has no nchw layout; choose from nhwc"),
    (("-t", "onnx-fp32", "--size", "8x8", "--size", "9x9"), "onnx-fp32 holds one size; give one --size, or none"),
    (("-t", "tflite-int8", "--size", "99999x99999"), "--size 99999x99999 is too large: spanv2_x2 would hold"),
    (("-t", "onnx-fp32", "--size", "99999x99999"), "--size 99999x99999 is too large: spanv2_x2 would hold"),
]


@pytest.mark.parametrize(("arguments", "words"), COMBINATIONS, ids=[" ".join(a) for a, _ in COMBINATIONS])
def test_options_that_do_not_go_together(
    run: Run, small_checkpoint: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    assert run("export", small_checkpoint, *arguments, "-o", tmp_path / "out").refused().startswith(words)
    assert not (tmp_path / "out").exists()


def test_a_name_that_the_checkpoint_contradicts(run: Run, small_checkpoint: Path, tmp_path: Path) -> None:
    message = run("export", "spanv2_x4", "--weights", small_checkpoint, "-o", tmp_path / "out").refused()
    assert "these are spanv2_x2 weights, not spanv2_x4; drop the name or give others" in message


@pytest.mark.parametrize("out", ["/proc/x", "/dev/null/x", "/dev/null", "{}/file", "{}/file/below"])
def test_outputs_that_cannot_be_written(run: Run, tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("precious")
    where = out.format(tmp_path)
    assert run("export", "-o", where).refused().startswith(f"cannot write {where}: ")
    assert bytes_of(tmp_path) == {"file": b"precious"}


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small file system of the test's own, with mount options."""
    mounted: list[Path] = []

    def call(options: str) -> Path:
        place = tmp_path / "mounted"
        place.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("this system lets nobody mount a file system")
        mounted.append(place)
        return place

    yield call
    for place in mounted:
        subprocess.run(["umount", place], check=True)


def test_a_full_disk(run: Run, mount: Callable[[str], Path], small_checkpoint: Path, photos: Path) -> None:
    place = mount("size=200k")
    arguments = ("export", small_checkpoint, "--calib", photos, "-q", "-o", place)
    for target in ("tflite-fp32", "onnx-fp32", "tflite-fp16", "onnx-fp16"):
        before = bytes_of(place)
        outcome = run(*arguments, "-t", target)
        if outcome.code:
            break
    else:
        pytest.fail("200 KB held four files with what proves them")
    assert outcome.refused().endswith("No space left on device; free some space or choose another disk")
    assert ".edgesr-" not in outcome.err
    assert bytes_of(place) == before and before
    run("verify", "parity", place, "-q").done()


def test_a_folder_that_may_only_be_read(run: Run, mount: Callable[[str], Path]) -> None:
    place = mount("size=64k,ro")
    message = run("export", "-t", "onnx-fp32", "-o", place).refused()
    assert message == f"cannot write {place}: Read-only file system; choose a folder you can write to"


def test_a_write_that_is_cut_short(
    run: Run, exported: Path, small_checkpoint: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system ends each file at 16 KB: the artifact is begun, and cannot be finished."""
    before = bytes_of(exported)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, limits[1]))
    try:
        outcome = run("export", small_checkpoint, "--calib", photos, "-t", "tflite-fp32", "-o", exported)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert outcome.refused().startswith(f"cannot write {exported}/spanv2_x2-fp32.tflite: File too large; ")
    assert bytes_of(exported) == before


def test_a_result_that_cannot_be_written_is_still_shown(run: Run, exported_once: Any, tmp_path: Path) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-fp32.onnx"
    outcome = run("bench", path, "--size", "8x8", "--runs", "1", "-o", "/dev/null/x")
    assert outcome.code == 1 and "fp32.onnx" in outcome.out
    assert outcome.err.startswith("edgesr: cannot write /dev/null/x: ") and outcome.err.count("\n") == 1


def test_a_manifest_that_is_none_is_not_overwritten(run: Run, small_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{half a manifes")
    message = run("export", small_checkpoint, "-t", "onnx-fp32", "-o", tmp_path).refused()
    assert "is no edgesr manifest" in message and message.endswith("; move it away, or choose another folder with -o")
    assert bytes_of(tmp_path) == {"manifest.json": b"{half a manifes"}


COMMANDS = [("verify", "parity"), ("verify", "quality", "--lr", "x", "--hr", "y"), ("bench",)]


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(command[:2]) for command in COMMANDS])
def test_artifacts_that_nothing_vouches_for(
    run: Run, exported: Path, tmp_path: Path, command: tuple[str, ...], photos: Path
) -> None:
    command = tuple(str(photos) if part in ("x", "y") else part for part in command)
    with (exported / "spanv2_x2-fp16.onnx").open("ab") as file:
        file.write(b"\0")
    (exported / "stranger.onnx").write_bytes(b"\0")
    for path, words in (
        (exported / "spanv2_x2-fp16.onnx", "was changed after its export: sha256 "),
        (exported / "stranger.onnx", "stranger.onnx is not in "),
        (exported / "nothing.onnx", "nothing.onnx does not exist; "),
        (tmp_path, "manifest.json does not exist; "),
    ):
        assert words in run(*command, path).refused()
    (exported / "manifest.json").write_text('{"manifest_version": 12, "artifacts": []}')
    assert "has version 12, this edgesr reads 1; export again" in run(*command, exported).refused()
