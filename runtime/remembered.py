"""An image function whose answers are kept on disk: the float network runs once for all files measured against it.

A data set's pictures together may exceed memory (100 of 2040x1356 take 830 MB), so each one lies in a file of its own,
uncompressed, named by the digest of its input, and is read when it is asked for again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgesr.runtime.quality import ImageFunction


class RememberedImages:
    """`run`, called once for each image; `folder` holds the answers and belongs to the caller."""

    def __init__(self, run: ImageFunction, folder: Path) -> None:
        self._run = run
        self._folder = folder

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The function's answer."""
        shape = "x".join(map(str, image.shape))
        path = self._folder / f"{shape}-{hashlib.sha256(image.tobytes()).hexdigest()}.npy"
        if not path.exists():
            np.save(path, self._run(image))
        answer: NDArray[np.uint8] = np.load(path)
        return answer
