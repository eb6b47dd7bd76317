from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgesr.architecture import SRModel
from edgesr.images import list_images, load_rgb
from edgesr.runtime.torch_runner import TorchRunner


@pytest.fixture
def pieces(photos: Path) -> list[NDArray[np.uint8]]:
    """Three calibration pieces of two sizes."""
    images = [load_rgb(path) for path in list_images(photos)]
    return [images[0], images[1][:, :32], images[2]]


@pytest.fixture
def image() -> NDArray[np.float32]:
    """A smooth image (1, 24, 32, 3) in [0, 1]."""
    rows, columns = np.linspace(0, 1, 24), np.linspace(0, 1, 32)
    plane = 0.1 + 0.8 * np.outer(rows, columns)
    return np.repeat(plane[None, :, :, None], 3, axis=3).astype(np.float32)


@pytest.fixture
def expected(gentle_model: SRModel, image: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the float network makes of the image."""
    result: NDArray[np.float64] = TorchRunner(gentle_model).run(image)
    return result
