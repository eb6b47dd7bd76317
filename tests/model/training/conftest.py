from pathlib import Path

import numpy as np
import pytest

from edgesr.images import save_png
from edgesr.model.training.batches import CropSource
from edgesr.model.training.config import LossWeights, RunConfig, Stage, TrainingConfig
from edgesr.model.training.photographs import load_photographs

STAGE = Stage(steps=4, batch=2, crop=6, learning_rate=1e-3, losses=LossWeights(l1=1.0), warmup_steps=2)


@pytest.fixture(scope="session")
def two_stages() -> TrainingConfig:
    """SPANV2 x2, 4 channels and 2 blocks, four steps on L1 and two on MSE."""
    last = Stage(steps=2, batch=2, crop=5, learning_rate=1e-4, losses=LossWeights(mse=1.0), warmup_steps=0)
    network = {"channels": 4, "blocks": 2}
    return TrainingConfig("spanv2", 2, (STAGE, last), network=network, run=RunConfig(threads=1, report_every=1))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of 20x26."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name in ("a", "b", "c"):
        save_png(folder / f"{name}.png", rng.integers(0, 256, (20, 26, 3), np.uint8))
    return folder


@pytest.fixture(scope="session")
def source(pictures: Path) -> CropSource:
    return CropSource(load_photographs(pictures, 2, 6).pairs, 2, seed=0)
