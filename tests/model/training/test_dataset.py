from pathlib import Path

import numpy as np
import pytest
import torch

from edgesr.errors import ImageError
from edgesr.images import save_png
from edgesr.model.training.dataset import Pair, load_pairs, sample_batch


def aligned_pair(height: int = 9, width: int = 7, scale: int = 2) -> Pair:
    """LR values tell their place, and HR repeats each of them scale x scale times."""
    lr = np.arange(height * width * 3).reshape(height, width, 3).astype(np.uint8)
    return Pair(lr, lr.repeat(scale, axis=0).repeat(scale, axis=1))


def test_photographs_are_cropped_to_the_scale_and_degraded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, size in {"b": (30, 35), "a": (33, 28)}.items():
        save_png(tmp_path / f"{name}.png", rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    pairs = load_pairs(tmp_path, scale=4, crop=5)
    assert [(p.lr.shape[:2], p.hr.shape[:2]) for p in pairs] == [((8, 7), (32, 28)), ((7, 8), (28, 32))]


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        load_pairs(tmp_path / "missing", 4, 8)
    with pytest.raises(ImageError):
        load_pairs(tmp_path, 4, 8)
    save_png(tmp_path / "small.png", np.zeros((40, 31, 3), np.uint8))
    with pytest.raises(ImageError, match=r"small\.png is smaller than a training crop of 32 pixels"):
        load_pairs(tmp_path, 4, 8)


def test_crops_are_aligned_in_every_symmetry() -> None:
    pairs = (aligned_pair(), aligned_pair(5, 5))
    lr, hr = sample_batch(pairs, np.random.default_rng(0), batch=64, crop=5, scale=2)
    assert lr.shape == (64, 3, 5, 5) and hr.shape == (64, 3, 10, 10) and lr.dtype == torch.float32
    assert torch.equal(hr, lr.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert float(lr.min()) >= 0 and float(lr.max()) <= 1
    whole = {tuple(x.flatten().tolist()) for x in sample_batch(pairs[1:], np.random.default_rng(1), 200, 5, 2)[0]}
    assert len(whole) == 8


def test_crops_depend_on_the_generator_alone() -> None:
    def draw(seed: int) -> torch.Tensor:
        return sample_batch((aligned_pair(),), np.random.default_rng(seed), 4, 3, 2)[0]

    assert torch.equal(draw(3), draw(3)) and not torch.equal(draw(3), draw(4))
