from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgesr.runtime.remembered import RememberedImages


def test_each_image_is_computed_once_and_comes_back_whole(tmp_path: Path) -> None:
    asked = []

    def invert(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        asked.append(image.shape)
        return 255 - image

    run = RememberedImages(invert, tmp_path)
    images = [np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8) for seed in (0, 1)]
    images.append(images[0].reshape(7, 5, 3))
    for _ in range(2):
        for image in images:
            answer = run(image)
            assert answer.dtype == np.uint8 and np.array_equal(answer, 255 - image)
    assert asked == [(5, 7, 3), (5, 7, 3), (7, 5, 3)], "the same bytes in another shape are another image"
