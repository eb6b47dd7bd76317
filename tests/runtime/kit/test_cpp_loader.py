"""The kit's C++ loader, compiled and run on the wheel's LiteRT, beside edgesr's own runner: bit for bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgesr.runtime.litert_runner import LiteRTRunner
from edgesr.runtime.receptive_field import NoReach, Reach
from edgesr.runtime.tiled_runner import TiledRunner

FREE = ("fp32", "fp16", "int8", "uint8", "float-edges", "two-sizes", "host-shuffle")
FIXED = ("fixed", "fixed-fp32")
SIZES = ((1, 1), (1, 53), (31, 47), (32, 48), (83, 97))


@pytest.fixture
def picture(images: list[np.ndarray]) -> Callable[[tuple[int, int]], np.ndarray]:
    """Natural content of any size with noise on it, uint8 (H, W, 3)."""

    def make(size: tuple[int, int]) -> np.ndarray:
        reps = [-(-side // got) for side, got in zip(size, images[0].shape, strict=False)]
        natural = np.tile(images[0], (*reps, 1))[: size[0], : size[1]].astype(np.int64)
        noise = np.random.default_rng(size[0]).integers(-20, 21, natural.shape)
        return np.ascontiguousarray(np.clip(natural + noise, 0, 255).astype(np.uint8))

    return make


def by_edgesr(file: Any, threads: int = 1) -> TiledRunner:
    reach = NoReach(file.model.why_whole) if file.model.reach is None else Reach(*file.model.reach)
    return TiledRunner(LiteRTRunner(file.path, file.contract, threads=threads), file.contract, reach, file.model.tile)


def assert_equal(loader: Any, name: str, file: Any, image: np.ndarray) -> None:
    """Bytes and floats are those of edgesr's runner by the same tiles."""
    runner = by_edgesr(file)
    plan = runner.plan(image.shape[:2])
    wanted = (*plan.tile, plan.count, int(plan.exact))
    for as_bytes in (True, False):
        found, planned = loader.run(name, file, image, as_bytes)
        expected = runner.run_bytes(image[None]) if as_bytes else runner.run(image[None])
        assert planned == wanted
        assert found.dtype == expected.dtype and np.array_equal(found, expected[0]), (name, image.shape, as_bytes)


@pytest.mark.parametrize("name", [*FREE, *FIXED])
def test_every_image_is_the_runners(loader: Any, deployed: Any, picture: Any, name: str) -> None:
    """From one pixel to several tiles: files for any size, of fixed sizes, in every type of image."""
    for size in SIZES:
        assert_equal(loader, name, deployed[name], picture(size))


@pytest.mark.parametrize("name", FREE)
def test_whole_images_are_the_runners(loader: Any, deployed: Any, picture: Any, name: str) -> None:
    """Without tiles, against the plain runner; and integers by tiles are the same bytes."""
    file, image = deployed[name], picture((83, 97))
    expected = LiteRTRunner(file.path, file.contract).run(image[None].astype(np.float32) / np.float32(255))[0]
    found, plan = loader.run(name, file, image, as_bytes=False, tile=(83, 97))
    assert plan == (83, 97, 1, 1) and np.array_equal(found, expected) and np.ptp(found) > 0.5
    tiled, plan = loader.run(name, file, image, as_bytes=False)
    assert plan[2] > 1 and np.abs(tiled - found).max() <= (0 if name not in ("fp32", "fp16") else 1e-6)


@pytest.mark.parametrize("name", ["denoiser", "denoiser-int8"])
def test_sides_that_are_no_multiple_are_continued(loader: Any, deployed: Any, picture: Any, name: str) -> None:
    """LiteDenoiseNet takes multiples of 16: whole in the file of 336x304, and in tiles."""
    file, image = deployed[name], picture((333, 301))
    assert file.contract.size_multiple == 16 and not file.contract.any_size
    assert_equal(loader, name, file, image)
    assert_equal(loader, name, file, picture((305, 290)))
    whole = LiteRTRunner(file.path, file.contract).run(image[None].astype(np.float32) / np.float32(255))[0]
    assert np.array_equal(loader.run(name, file, image, as_bytes=False)[0], whole)


def test_a_file_that_cannot_be_tiled_runs_whole_images(loader: Any, deployed: Any, picture: Any) -> None:
    assert_equal(loader, "no-tiles", deployed["no-tiles"], picture((83, 97)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FREE, *FIXED, "denoiser-int8"])
def test_no_memory_is_misused_or_lost(checked_loader: Any, deployed: Any, picture: Any, name: str) -> None:
    for size in (*SIZES, (333, 301)):
        assert_equal(checked_loader, name, deployed[name], picture(size))


def test_threads_change_no_byte(loader: Any, deployed: Any, picture: Any) -> None:
    image = picture((83, 97))
    one, two = (loader.run("int8", deployed["int8"], image, as_bytes=True, threads=n)[0] for n in (1, 2))
    assert np.array_equal(one, two)


def test_a_wrong_constant_is_seen(loader: Any, deployed: Any, picture: Any) -> None:
    """The comparison above catches what it is for: one constant of the contract that is a level off."""
    image = picture((31, 47))
    expected = by_edgesr(deployed["fp32"]).run_bytes(image[None])[0]
    right, _ = loader.run("fp32", deployed["fp32"], image, as_bytes=True)
    wrong, _ = loader.run("wrong-range", deployed["fp32"], image, as_bytes=True)
    assert np.array_equal(right, expected) and not np.array_equal(wrong, expected)


@pytest.mark.parametrize(
    ("name", "file", "words", "why"),
    [
        ("int8", "fp32", ("u8", 0, 0, 1), "bytes, int8.tflite has"),
        ("int8", "missing", ("u8", 0, 0, 1), "cannot be read; give the path of int8.tflite"),
        ("int8", "int8", ("u8", 9, 9, 1), "is too small for this network; tiles need at least"),
        ("int8", "int8", ("u8", -4, 9, 1), "does not fit this file"),
        ("int8", "int8", ("u8", 0, 0, 0), "threads must be at least 1"),
    ],
)
def test_refusals_say_why(
    loader: Any, deployed: Any, picture: Any, name: str, file: str, words: tuple[object, ...], why: str
) -> None:
    path = deployed[file].path if file in deployed else loader.folder / "missing.tflite"
    result = loader.call(name, path, picture((83, 97)), *words)
    assert result.returncode == 1 and why in result.stderr and "; " in result.stderr


def test_a_file_that_is_no_model_is_refused(loader: Any, deployed: Any, picture: Any, tmp_path: Any) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"x" * deployed["int8"].model.size_bytes)
    result = loader.call("int8", broken, picture((8, 8)), "u8", 0, 0, 1)
    assert result.returncode == 1 and "LiteRT cannot load the file" in result.stderr


def test_a_foreign_file_of_the_same_length_is_refused(loader: Any, deployed: Any, picture: Any, tmp_path: Any) -> None:
    """Trailing bytes do not hide another type of image."""
    sizes = {name: deployed[name].model.size_bytes for name in ("int8", "uint8")}
    assert sizes["int8"] < sizes["uint8"], "the file for uint8 has two operators more"
    other = tmp_path / "padded.tflite"
    other.write_bytes(deployed["int8"].path.read_bytes().ljust(sizes["uint8"], b"\0"))
    result = loader.call("uint8", other, picture((8, 8)), "u8", 0, 0, 1)
    assert result.returncode == 1 and "the file's input is not that of uint8.tflite" in result.stderr


def test_an_image_without_pixels_is_refused(loader: Any, deployed: Any) -> None:
    result = loader.call("int8", deployed["int8"].path, np.zeros((0, 5, 3), np.uint8), "u8", 0, 0, 1)
    assert result.returncode == 1 and "an image of 0x5 cannot be run" in result.stderr
