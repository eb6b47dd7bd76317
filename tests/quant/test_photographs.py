"""Photographs as labels: which are kept for choosing, and how they are reduced."""

from pathlib import Path

import numpy as np
import pytest

from edgesr.degradation import downsample
from edgesr.errors import ImageError
from edgesr.images import save_png
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.quant.photographs import (
    MAX_PHOTOGRAPH_SIDE,
    MIN_INPUT_SIDE,
    hold_out,
    labelled,
    load_photographs,
)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("count", "held"),
    [(0, []), (1, [0]), (2, [1]), (3, [2]), (4, [3]), (5, [4]), (9, [4]), (10, [4, 9]), (23, [4, 9, 14, 19])],
)
def test_one_in_five_is_kept_for_choosing(count: int, held: list[int]) -> None:
    images = [np.full((1, 1, 3), i, np.uint8) for i in range(count)]
    learned, kept = hold_out(images)
    assert [int(x[0, 0, 0]) for x in kept] == held
    assert [int(x[0, 0, 0]) for x in learned] == ([0] if count == 1 else [i for i in range(count) if i not in held])


@pytest.mark.parametrize(
    ("shape", "scale", "multiple", "expected"),
    [
        ((80, 97), 2, 1, (80, 96)),
        ((83, 130), 4, 1, (80, 128)),
        ((83, 130), 2, 6, (72, 120)),
        ((64, 64), 4, 1, (64, 64)),
        ((63, 64), 4, 1, None),
        ((64, 47), 3, 1, None),
        ((70, 70), 2, 64, None),
        ((128, 200), 2, 64, (128, 128)),
        ((40, 31), 1, 1, (40, 31)),
        ((1, 500), 4, 1, None),
    ],
)
def test_an_image_is_its_own_label_where_it_is_large_enough(
    shape: tuple[int, int], scale: int, multiple: int, expected: tuple[int, int] | None
) -> None:
    image = noise(*shape)
    pairs = labelled([image], scale, multiple)
    assert [pair.hr.shape[:2] for pair in pairs] == ([] if expected is None else [expected])
    for pair in pairs:
        assert np.array_equal(pair.hr, image[: pair.hr.shape[0], : pair.hr.shape[1]])
        assert np.array_equal(pair.lr, downsample(pair.hr, scale))
        assert min(pair.lr.shape[:2]) >= MIN_INPUT_SIDE and not any(n % multiple for n in pair.lr.shape[:2])


def test_small_images_are_left_out_and_the_others_kept_in_order() -> None:
    images = [noise(64, 64, 0), noise(20, 64, 1), noise(70, 80, 2)]
    pairs = labelled(images, 4)
    assert [pair.hr.shape for pair in pairs] == [(64, 64, 3), (68, 80, 3)]


def test_a_network_that_keeps_the_size_has_its_inputs_as_labels() -> None:
    (pair,) = labelled([noise(20, 30)], 1)
    assert np.array_equal(pair.lr, pair.hr)


def test_photographs_are_cut_to_their_middle(tmp_path: Path) -> None:
    large, small = noise(600, 530), noise(20, 9)
    save_png(tmp_path / "a.png", large)
    save_png(tmp_path / "b.png", small)
    found = load_photographs(tmp_path)
    assert np.array_equal(found[0], large[44:556, 9:521]) and found[0].shape[0] == MAX_PHOTOGRAPH_SIDE
    assert np.array_equal(found[1], small)


def test_at_most_so_many_are_read_evenly_over_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(10):
        save_png(tmp_path / f"{i}.png", np.full((4, 4, 3), i, np.uint8))
    monkeypatch.setattr("edgesr.quant.photographs.MAX_PHOTOGRAPHS", 4)
    reported: list[tuple[str, int, int]] = []
    found = load_photographs(tmp_path, lambda *args: reported.append(args))
    assert [int(x[0, 0, 0]) for x in found] == [0, 2, 5, 7]
    assert reported == [("reading photographs", done, 4) for done in range(5)]


def test_without_a_folder_they_are_the_builtin_ones() -> None:
    assert len(load_photographs(None)) == len(builtin_calibration_paths())


def test_an_unreadable_folder_or_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"\A[^\n]*nowhere[^\n]*\Z"):
        load_photographs(tmp_path / "nowhere")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"\A[^\n]*broken\.png[^\n]*\Z"):
        load_photographs(tmp_path)
