"""Calibration images: which are read, what is cut, and what is refused."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgesr.errors import CalibrationError, ImageError
from edgesr.images import load_rgb, save_png
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.quant.images import MAX_IMAGES, centre, load_calibration_images


def write(folder: Path, name: str, height: int, width: int, seed: int = 0) -> np.ndarray:
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    save_png(folder / name, array)
    return array


def test_without_a_folder_the_builtin_images_are_read() -> None:
    images = load_calibration_images(None)
    assert images.source == "builtin"
    assert list(images.names) == [path.name for path in builtin_calibration_paths()]
    for piece, path in zip(images.pieces, builtin_calibration_paths(), strict=True):
        assert np.array_equal(piece, load_rgb(path))


def test_a_folder_is_read_by_name(tmp_path: Path) -> None:
    written = {name: write(tmp_path, name, 50, 60, seed) for seed, name in enumerate(("b.png", "a.png", "c.PNG"))}
    (tmp_path / "notes.txt").write_text("no image")
    images = load_calibration_images(tmp_path)
    assert images.source == str(tmp_path)
    assert images.names == ("a.png", "b.png", "c.PNG")
    assert all(np.array_equal(piece, written[name]) for name, piece in zip(images.names, images.pieces, strict=True))
    assert all(piece.dtype == np.uint8 for piece in images.pieces)


@pytest.mark.parametrize(("count", "step"), [(64, 1.0), (65, 65 / 64), (100, 100 / 64), (130, 130 / 64)])
def test_at_most_64_images_are_spread_over_a_folder(tmp_path: Path, count: int, step: float) -> None:
    for index in range(count):
        Image.fromarray(np.full((8, 9, 3), index, np.uint8)).save(tmp_path / f"{index:03}.bmp")
    images = load_calibration_images(tmp_path)
    assert len(images.pieces) == MAX_IMAGES
    assert [int(piece[0, 0, 0]) for piece in images.pieces] == [int(index * step) for index in range(64)]


def test_large_images_are_cut_to_their_centre(tmp_path: Path) -> None:
    large = write(tmp_path, "large.png", 301, 220)
    wide = write(tmp_path, "wide.png", 40, 500)
    pieces = load_calibration_images(tmp_path).pieces
    assert np.array_equal(pieces[0], large[54:246, 14:206])
    assert np.array_equal(pieces[1], wide[:, 154:346])


def test_a_piece_does_not_keep_its_whole_image_in_memory() -> None:
    whole = np.zeros((300, 300, 3), np.uint8)
    for piece in (centre(whole, 1), centre(whole[:50, :50], 1)):
        assert piece.base is None and piece.flags.owndata


@pytest.mark.parametrize(
    ("size", "multiple", "expected"),
    [
        ((80, 120), 16, (80, 112)), ((301, 220), 64, (192, 192)), ((100, 250), 50, (100, 150)),
        ((65, 65), 65, (65, 65)), ((500, 256), 256, (256, 256)), ((300, 300), 100, (100, 100)),
    ],
)  # fmt: skip
def test_pieces_are_multiples_of_what_the_network_takes(
    size: tuple[int, int], multiple: int, expected: tuple[int, int]
) -> None:
    image = np.arange(size[0] * size[1] * 3, dtype=np.uint32).astype(np.uint8).reshape(*size, 3)
    piece = centre(image, multiple)
    assert piece.shape[:2] == expected
    top, left = ((n - m) // 2 for n, m in zip(size, expected, strict=True))
    assert np.array_equal(piece, image[top : top + expected[0], left : left + expected[1]])


def test_images_smaller_than_the_multiple_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "small.png", 15, 200)
    write(tmp_path, "fits.png", 70, 70)
    images = load_calibration_images(tmp_path, size_multiple=16)
    assert images.names == ("fits.png",)
    assert [piece.shape for piece in images.pieces] == [(64, 64, 3)]


KINDS = {
    "grey.png": ("L", (np.arange(5600) % 256).astype(np.uint8).reshape(70, 80)),
    "deep.png": ("I;16", (np.arange(5600) * 11).astype(np.uint16).reshape(70, 80)),
    "alpha.png": ("RGBA", np.random.default_rng(0).integers(0, 256, (70, 80, 4), dtype=np.uint8)),
}


@pytest.mark.parametrize("name", KINDS)
def test_other_kinds_of_images_become_rgb(tmp_path: Path, name: str) -> None:
    mode, array = KINDS[name]
    image = Image.fromarray(array)
    assert image.mode == mode
    image.save(tmp_path / name)
    (piece,) = load_calibration_images(tmp_path).pieces
    expected = np.rint(array / 257) if mode == "I;16" else array
    assert np.array_equal(piece, expected[..., :3] if mode == "RGBA" else np.stack([expected] * 3, 2))


@pytest.mark.parametrize(
    ("sizes", "multiple"), [([(1, 1)], 1), ([(63, 65)], 1), ([(1, 1)] * 5, 1), ([(70, 60)] * 3, 64)]
)
def test_too_few_pixels_are_refused(tmp_path: Path, sizes: list[tuple[int, int]], multiple: int) -> None:
    for index, size in enumerate(sizes):
        write(tmp_path, f"{index}.png", *size)
    message = rf"^{re.escape(str(tmp_path))}: the images hold fewer than 4096 pixels together[^\n]*--calib$"
    with pytest.raises(CalibrationError, match=message):
        load_calibration_images(tmp_path, multiple)


def test_one_image_of_64_by_64_is_enough(tmp_path: Path) -> None:
    write(tmp_path, "a.png", 64, 64)
    assert len(load_calibration_images(tmp_path).pieces) == 1


def test_a_tiny_image_among_others_is_read(tmp_path: Path) -> None:
    write(tmp_path, "a.png", 1, 1)
    write(tmp_path, "b.png", 64, 64)
    assert [piece.shape for piece in load_calibration_images(tmp_path).pieces] == [(1, 1, 3), (64, 64, 3)]


def test_builtin_images_that_do_not_fit_the_multiple_are_called_builtin() -> None:
    with pytest.raises(CalibrationError, match=r"^builtin: .* in multiples of 128, .* images of 128x128 or more"):
        load_calibration_images(None, size_multiple=128)


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no images in"):
        load_calibration_images(tmp_path)
    with pytest.raises(ImageError, match="not found"):
        load_calibration_images(tmp_path / "missing")
    write(tmp_path, "a.png", 64, 64)
    with pytest.raises(ImageError, match="is a file, not a folder"):
        load_calibration_images(tmp_path / "a.png")


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.png", 64, 64)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    with pytest.raises(ImageError, match=r"b\.png: "):
        load_calibration_images(tmp_path)


def test_progress_runs_from_none_to_all(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write(tmp_path, name, 64, 64)
    seen: list[tuple[int, int]] = []
    load_calibration_images(tmp_path, 1, lambda stage, done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]
