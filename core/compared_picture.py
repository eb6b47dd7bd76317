"""What a file made of an image, beside what the float network makes of it: the pictures that reports show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesr.images import Image8


@dataclass(frozen=True, eq=False)
class ComparedPicture:
    """One image through one file in one runner.

    `small` (h, w, 3) went in, `found` (H, W, 3) came out, `network` (H, W, 3) is the float network's picture, and
    `truth` (H, W, 3) the high-resolution image where there is one.
    """

    file: str
    runner: str
    name: str
    small: Image8
    network: Image8
    found: Image8
    truth: Image8 | None = None

    def __post_init__(self) -> None:
        """Refuse pictures that do not lie on each other."""
        others = [picture for picture in (self.found, self.truth) if picture is not None]
        if any(picture.shape != self.network.shape for picture in others):
            raise ValueError(f"{self.file} on {self.name}: pictures of one size are compared")


def as_rgb(image: Image8) -> Image8 | None:
    """An image (H, W, C) as people see it: grey three times; None for other numbers of channels."""
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    return image if image.shape[2] == 3 else None
