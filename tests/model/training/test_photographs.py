from pathlib import Path

import numpy as np
import pytest

from edgesr.errors import ImageError
from edgesr.images import save_png
from edgesr.matlab_bicubic import reduce_as_matlab
from edgesr.model.training.photographs import load_photographs


def save(folder: Path, **sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for name, size in sizes.items():
        save_png(folder / f"{name}.png", rng.integers(0, 256, (*size, 3), np.uint8))


def test_photographs_are_cut_to_the_scale_and_reduced(tmp_path: Path) -> None:
    save(tmp_path, b=(30, 35), a=(33, 28))
    found = load_photographs(tmp_path, scale=4, crop=5)
    assert [(p.lr.shape[:2], p.hr.shape[:2]) for p in found.pairs] == [((8, 7), (32, 28)), ((7, 8), (28, 32))]
    assert all(np.array_equal(p.lr, reduce_as_matlab(p.hr, 4)) for p in found.pairs)
    assert not found.notes


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path: Path) -> None:
    save(tmp_path, good=(32, 32), small=(31, 40), tiny=(2, 2))
    (tmp_path / "broken.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    found = load_photographs(tmp_path, scale=4, crop=8)
    assert (
        len(found.pairs) == 1 and found.unreadable == ("broken.png",) and found.too_small == ("small.png", "tiny.png")
    )
    assert (
        found.notes[0].startswith("1 of 4 images in")
        and "cannot be read and are left out: broken.png" in found.notes[0]
    )
    assert found.notes[1].startswith("2 of 4 images in") and "smaller than a crop" in found.notes[1]


def test_a_folder_without_a_usable_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no images in"):
        load_photographs(tmp_path, 2, 4)
    save(tmp_path, small=(20, 20))
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match="1 cannot be read, 1 are smaller than a crop of 24x24"):
        load_photographs(tmp_path, 2, 12)


def test_the_digest_depends_on_every_pixel_and_no_name(tmp_path: Path) -> None:
    save(tmp_path, a=(16, 16), b=(16, 20))
    before = load_photographs(tmp_path, 2, 4).digest
    (tmp_path / "b.png").rename(tmp_path / "c.png")
    assert load_photographs(tmp_path, 2, 4).digest == before
    save(tmp_path, a=(16, 18))
    assert load_photographs(tmp_path, 2, 4).digest != before
