import numpy as np
import pytest
import torch

from edgesr.model.training.batches import CropSource, add_noise, batches_ahead
from edgesr.model.training.config import NoiseConfig
from edgesr.model.training.photographs import Pair


def aligned_pair(height: int = 9, width: int = 7, scale: int = 2) -> Pair:
    """LR values tell their place, and HR repeats each of them scale x scale times."""
    lr = np.arange(height * width * 3).reshape(height, width, 3).astype(np.uint8)
    return Pair(lr, lr.repeat(scale, axis=0).repeat(scale, axis=1))


def test_crops_are_aligned_in_every_symmetry() -> None:
    batch = CropSource((aligned_pair(), aligned_pair(5, 5)), 2, seed=0).batch(0, range(64), 5)
    assert batch.lr.shape == (64, 3, 5, 5) and batch.hr.shape == (64, 3, 10, 10) and batch.lr.dtype == torch.uint8
    assert torch.equal(batch.hr, batch.lr.repeat_interleave(2, 2).repeat_interleave(2, 3))
    whole = CropSource((aligned_pair(5, 5),), 2, seed=1).batch(0, range(200), 5).lr
    assert len({tuple(x.flatten().tolist()) for x in whole}) == 8


def test_a_crop_depends_on_seed_step_and_index_alone(source: CropSource) -> None:
    whole = source.batch(7, range(6), 4)
    assert torch.equal(source.batch(7, range(2, 5), 4).hr, whole.hr[2:5])
    assert torch.equal(source.batch(7, range(6), 4).lr, whole.lr)
    others = [source.batch(8, range(6), 4), CropSource(source.pairs, 2, seed=1).batch(7, range(6), 4)]
    assert all(not torch.equal(other.lr, whole.lr) for other in others)
    assert len({batch.checksum for batch in (whole, *others)}) == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_made_ahead_come_in_order(source: CropSource, threads: int) -> None:
    found = list(batches_ahead(source, range(3, 14), range(2), 4, threads))
    assert [batch.checksum for batch in found] == [source.batch(step, range(2), 4).checksum for step in range(3, 14)]


def test_no_batch_is_made_for_a_stage_that_ends_early(source: CropSource) -> None:
    ahead = batches_ahead(source, range(10**9), range(2), 4, 2)
    next(ahead)
    ahead.close()


def test_noise_has_the_deviation_that_was_asked_for_and_stays_an_image() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    noisy = add_noise(grey, NoiseConfig(20, 20), np.random.default_rng(0)).astype(float)
    # of 120,000 values the estimate of the deviation has a standard error of 20 / sqrt(240,000) = 0.04 levels
    assert noisy.std() == pytest.approx(20, abs=0.2) and noisy.mean() == pytest.approx(128, abs=0.3)
    wide = add_noise(grey, NoiseConfig(255, 255), np.random.default_rng(0))
    assert wide.dtype == np.uint8 and wide.min() == 0 and wide.max() == 255
    deviations = [add_noise(grey, NoiseConfig(5, 50), np.random.default_rng(i)).astype(float).std() for i in range(40)]
    assert min(deviations) < 12 and max(deviations) > 40


def test_at_scale_one_the_target_is_the_clean_crop() -> None:
    image = np.full((8, 8, 3), 100, np.uint8)
    batch = CropSource((Pair(image, image),), 1, seed=0, noise=NoiseConfig(10, 10)).batch(0, range(2), 8)
    assert (batch.hr == 100).all() and batch.lr.float().std() > 5
