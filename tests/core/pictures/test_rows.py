"""What becomes of grey, transparency and bits on the way through a network."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgesr.pictures.formats import PNG
from edgesr.pictures.picture import OutputShape, Picture
from edgesr.pictures.rows import enlarge_rows, finish_rows, network_images

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (9, 7, 1), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)


def finished(picture: Picture, output: Any, scale: int, value_range: float = 1.0, step: int = 3) -> Any:
    shape = OutputShape.enlarged(picture, scale, PNG)
    rows: list[Any] = []
    for start in range(0, len(output), step * scale):
        rows += finish_rows(picture, output[start : start + step * scale], start, scale, shape, value_range)
    return np.concatenate(rows)


def test_grey_is_repeated_and_comes_back_as_luma() -> None:
    (image,) = network_images(Picture(GREY), 3)
    np.testing.assert_array_equal(image, np.repeat(GREY[None], 3, axis=3))
    output = RNG.integers(0, 256, (18, 14, 3), dtype=np.uint8)
    luma = np.asarray(Image.fromarray(output).convert("L"))
    np.testing.assert_array_equal(finished(Picture(GREY), output, 2)[:, :, 0], luma)


def test_a_network_on_one_channel_takes_each_colour() -> None:
    images = network_images(Picture(COLOUR), 1)
    np.testing.assert_array_equal(np.concatenate(images, axis=3)[0], COLOUR)
    assert network_images(Picture(GREY), 1)[0].shape == (1, 9, 7, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_transparency_in_pieces_is_that_of_the_whole(dtype: Any, scale: int) -> None:
    mask = RNG.integers(0, np.iinfo(dtype).max + 1, (23, 11), dtype=dtype)
    pieces = np.concatenate([enlarge_rows(mask, scale, start, min(23, start + 4)) for start in range(0, 23, 4)])
    whole = Image.fromarray(mask.astype(np.float32)).resize((11 * scale, 23 * scale), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pieces, np.rint(np.clip(np.asarray(whole), 0, np.iinfo(dtype).max)).astype(dtype))


def test_transparency_follows_the_colours() -> None:
    alpha = RNG.integers(0, 256, (9, 7), dtype=np.uint8)
    output = RNG.integers(0, 256, (18, 14, 3), dtype=np.uint8)
    rows = finished(Picture(COLOUR, alpha), output, 2)
    np.testing.assert_array_equal(rows[:, :, :3], output)
    np.testing.assert_array_equal(rows[:, :, 3], enlarge_rows(alpha, 2, 0, 9))


def test_16_bits_come_of_floats_rounded_and_of_bytes_widened() -> None:
    deep = Picture(COLOUR.astype(np.uint16) * 200)
    floats = RNG.uniform(-0.1, 1.1, (9, 7, 3)).astype(np.float32)
    rows = finished(deep, floats * 255, 1, value_range=255)
    assert rows.dtype == np.uint16
    assert np.abs(rows - np.clip(floats.astype(float), 0, 1) * 65535).max() <= 0.51
    levels = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(finished(deep, levels, 1), levels * np.uint16(257))
    grey = Picture(np.full((9, 7, 1), 65535, np.uint16))
    assert (finished(grey, np.ones((9, 7, 3), np.float32), 1) == 65535).all()


def test_8_bits_are_what_a_format_without_16_gets() -> None:
    picture = Picture(COLOUR.astype(np.uint16) * 257, np.full((9, 7), 40000, np.uint16))
    shape = OutputShape((9, 7), 3, True, 8)
    (rows,) = finish_rows(picture, COLOUR, 0, 1, shape, 1.0)
    assert rows.dtype == np.uint8 and (rows[:, :, 3] == round(40000 / 257)).all()
