"""`edgesr run` keeps what a picture is: bits, transparency, grey, orientation, profile; and bounds its memory."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from edgesr.api import ExportRequest, export
from edgesr.artifact import locate
from edgesr.images import load_rgb, save_png
from edgesr.pictures.picture import Metadata, OutputShape
from edgesr.pictures.png_chunks import Header, iterate_chunks
from edgesr.pictures.png_writer import PngWriter
from edgesr.pictures.reading import read_picture
from edgesr.pictures.rows import enlarge_rows
from edgesr.runtime.runners import open_runner
from edgesr.target import find_target

Run = Callable[..., Any]
EDGESR = Path(sys.executable).parent / "edgesr"
HUGE = 10_000
MOST_BYTES = 2e9
PEAK = """import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Prints a child's peak memory in bytes. A small parent: a child inherits in it the peak of who started it."""


@pytest.fixture(scope="module")
def int8(exported_once: Any) -> Path:
    return Path(exported_once.manifest.folder) / "spanv2_x2-int8.tflite"


@pytest.fixture(scope="module")
def fp32(exported_once: Any) -> Path:
    return Path(exported_once.manifest.folder) / "spanv2_x2-fp32.tflite"


ONE_CONVOLUTION = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))
"""


@pytest.fixture(scope="module")
def one_convolution(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """INT8 and x2, of a single convolution: most of the time is that of reading and writing."""
    folder = tmp_path_factory.mktemp("one")
    (folder / "net.py").write_text(ONE_CONVOLUTION)
    weight = torch.eye(3).repeat_interleave(4, dim=0)[:, :, None, None] * torch.full((3, 3), 1 / 9)
    torch.save({"0.weight": weight, "0.bias": torch.zeros(12)}, folder / "net.pth")
    target, named, weights = find_target("tflite-int8"), f"{folder / 'net.py'}:Net", folder / "net.pth"
    assert target is not None
    result = export(ExportRequest((target,), folder / "out", named, weights, ((24, 20),), calibration=photos))
    return Path(result.manifest.folder) / result.artifacts[0].file


@pytest.fixture
def photo(photos: Path) -> Any:
    return load_rgb(sorted(photos.iterdir())[0])


def write_png(path: Path, pixels: Any, metadata: Metadata | None = None) -> Path:
    samples = pixels.shape[2]
    shape = OutputShape(
        pixels.shape[:2], samples - (samples % 2 == 0), samples % 2 == 0, 8 * pixels.itemsize, metadata or Metadata()
    )
    with path.open("wb") as file:
        writer = PngWriter(file, shape)
        writer.write(pixels)
        writer.close()
    return path


def floats_of(artifact: Path, image: Any) -> Any:
    """The bare runner's output in [0, 1] for an image in [0, 1]."""
    _, (found,) = locate(artifact)
    target, contract = found.find_target(), found.contract
    runner = open_runner(target.runners[0], target, artifact, contract)
    return runner.run((image[None] * contract.value_range).astype(np.float32))[0] / contract.value_range


def test_float_files_give_16_bits_of_16(run: Run, fp32: Path, photo: Any, tmp_path: Path) -> None:
    deep = photo.astype(np.uint16) * 257 + np.random.default_rng(0).integers(-99, 99, photo.shape)
    deep = np.clip(deep, 0, 65535).astype(np.uint16)
    run("run", fp32, "-i", write_png(tmp_path / "x.png", deep), "-o", tmp_path / "y.png", "--tile", 36, "-q").done()
    found = read_picture(tmp_path / "y.png")
    wanted = np.clip(floats_of(fp32, deep / 65535), 0, 1) * 65535
    assert found.bits == 16 and np.abs(found.colour - wanted).max() < 1
    assert len(np.unique(found.colour & 0xFF)) > 200  # the low byte says something


def test_8_bit_files_give_8_bits_widened(run: Run, int8: Path, photo: Any, tmp_path: Path) -> None:
    deep = photo.astype(np.uint16) * 257 + 100  # rounds to photo
    run("run", int8, "-i", write_png(tmp_path / "x.png", deep), "-o", tmp_path / "y.png", "-q").done()
    save_png(tmp_path / "x8.png", photo)
    run("run", int8, "-i", tmp_path / "x8.png", "-o", tmp_path / "y8.png", "-q").done()
    found = read_picture(tmp_path / "y.png")
    np.testing.assert_array_equal(found.colour, load_rgb(tmp_path / "y8.png").astype(np.uint16) * 257)


@pytest.mark.parametrize("bits", [8, 16])
def test_transparency_is_enlarged(run: Run, int8: Path, photo: Any, tmp_path: Path, bits: int) -> None:
    dtype = np.uint8 if bits == 8 else np.uint16
    alpha = np.random.default_rng(0).integers(0, 2**bits, photo.shape[:2], dtype=dtype)
    wide = photo.astype(dtype) * (1 if bits == 8 else 257)
    write_png(tmp_path / "x.png", np.dstack((wide, alpha)))
    run("run", int8, "-i", tmp_path / "x.png", "-o", tmp_path / "y.png", "--tile", 36, "-q").done()
    found = read_picture(tmp_path / "y.png")
    np.testing.assert_array_equal(found.alpha, enlarge_rows(alpha, 2, 0, len(alpha)))
    save_png(tmp_path / "opaque.png", photo)
    run("run", int8, "-i", tmp_path / "opaque.png", "-o", tmp_path / "z.png", "-q").done()
    np.testing.assert_array_equal(found.colour, load_rgb(tmp_path / "z.png").astype(dtype) * (1 if bits == 8 else 257))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_grey_stays_grey(run: Run, int8: Path, photo: Any, tmp_path: Path, suffix: str) -> None:
    """WebP holds no grey: there it is grey in three colours."""
    grey, colours = tmp_path / "x.png", tmp_path / "rgb.png"
    Image.fromarray(photo[:, :, 1]).save(grey)
    save_png(colours, np.repeat(photo[:, :, 1:2], 3, axis=2))
    run("run", int8, "-i", grey, "-o", tmp_path / f"y.{suffix}", "--quality", 100, "-q").done()
    run("run", int8, "-i", colours, "-o", tmp_path / "z.png", "-q").done()
    with Image.open(tmp_path / f"y.{suffix}") as image, Image.open(tmp_path / "z.png") as wanted:
        assert image.mode == ("L" if suffix != "webp" else "RGB")
        difference = np.abs(np.asarray(image.convert("L")).astype(int) - np.asarray(wanted.convert("L")))
    assert difference.max() <= {"jpg": 3, "webp": 12}.get(suffix, 0)


def test_a_turned_jpeg_is_upright_and_keeps_profile_and_camera(
    run: Run, int8: Path, photo: Any, tmp_path: Path
) -> None:
    exif, icc = Image.Exif(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif[0x0112], exif[0x0110] = 6, "Camera 7"
    Image.fromarray(photo).save(tmp_path / "x.jpg", quality=95, exif=exif, icc_profile=icc)
    for suffix in ("jpg", "png", "webp"):
        out = tmp_path / f"y.{suffix}"
        run("run", int8, "-i", tmp_path / "x.jpg", "-o", out, "-q").done()
        with Image.open(out) as image:
            assert image.size == (2 * photo.shape[0], 2 * photo.shape[1])
            assert image.info["icc_profile"] == icc
            assert image.getexif()[0x0110] == "Camera 7" and image.getexif()[0x0112] == 1
    turned = load_rgb(tmp_path / "x.jpg")  # as every other command sees it
    save_png(tmp_path / "turned.png", turned)
    run("run", int8, "-i", tmp_path / "turned.png", "-o", tmp_path / "z.png", "-q").done()
    np.testing.assert_array_equal(load_rgb(tmp_path / "y.png"), load_rgb(tmp_path / "z.png"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="this system does not tell a child's peak memory")
def test_100_megapixels_take_less_than_2_gigabytes(one_convolution: Path, tmp_path: Path) -> None:
    """400 megapixels are written, row by row."""
    row = np.linspace(0, 255, HUGE).astype(np.uint8)[None, :, None]
    with (tmp_path / "x.png").open("wb") as file:
        writer = PngWriter(file, OutputShape((HUGE, HUGE), 3, False, 8))
        for start in range(0, HUGE, 500):
            writer.write(np.broadcast_to(row + np.uint8(start // 500), (500, HUGE, 3)))
        writer.close()
    line = [EDGESR, "run", one_convolution, "-i", tmp_path / "x.png", "-o", tmp_path / "y.png", "-q"]
    done = subprocess.run([sys.executable, "-c", PEAK, *map(str, line)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(f"peak {int(done.stdout) / 1e9:.2f} GB")
    assert int(done.stdout) < MOST_BYTES
    with (tmp_path / "y.png").open("rb") as file:
        header = Header.unpack(next(iterate_chunks(file))[1])
        assert (header.height, header.width) == (2 * HUGE, 2 * HUGE)
    (tmp_path / "y.png").unlink()
