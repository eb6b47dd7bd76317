"""The images that parity is checked on: natural ones whole and cut to odd sizes, noise, and a single pixel.

Noise comes at half contrast, and at full contrast: there a network trained on photographs may amplify rounding without
bound (official SPANV2 answers some full-contrast noise with values of -68), which the yardstick in `parity` allows for.

A network that takes multiples of a size alone also gets images of other sizes, which are padded and cut back
(`edgesr.padding`): all of its noise, and one natural image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgesr.artifact import IOContract

ODD_SIZE = (37, 53)
NOISE_SIZE = (33, 47)
NOISE_LEVELS = {"full noise": (0, 255), "noise": (64, 191)}
NATURAL_IMAGES = 2
NATURAL = "natural"
MAX_SIDE = 160


@dataclass(frozen=True, eq=False)
class ParityCase:
    """A named image (1, H, W, C), its values k/255 of the value range.

    The graph sees an image that `is_padded` at another size: its tensors are not the image's.
    """

    name: str
    image: np.ndarray
    is_padded: bool = False

    @property
    def natural(self) -> bool:
        """Whether the image is one, or a piece of one, that a camera took."""
        return self.name.startswith(NATURAL)


def parity_cases(contract: IOContract, images: Sequence[np.ndarray], seed: int = 0) -> list[ParityCase]:
    """Cases that the contract accepts, from natural uint8 images (H, W, C).

    An artifact of fixed size gets natural images and noise of that size, and of one that is padded to it.
    """
    generator = np.random.default_rng(seed)
    natural, multiple = list(images[:NATURAL_IMAGES]), contract.size_multiple
    if contract.any_size:
        wanted = [(NATURAL, image, fitting(image.shape[:2], multiple)) for image in natural]
        wanted.append((f"{NATURAL} odd", natural[0], fitting(ODD_SIZE, multiple)))
        noise_sizes, padded = [(1, 1), NOISE_SIZE], ODD_SIZE
    else:
        wanted = [(NATURAL, image, size) for size in contract.sizes for image in natural]
        padded = off_multiple(contract.sizes[-1], multiple)
        noise_sizes = list(dict.fromkeys((*contract.sizes, padded)))
    if padded != contract.file_size(padded):
        wanted.append((f"{NATURAL} padded", natural[0], padded))
    pieces = [(name, cut(image, size)) for name, image, size in wanted]
    for name, (low, high) in NOISE_LEVELS.items():
        for size in noise_sizes:
            pieces.append((name, generator.integers(low, high, (*size, contract.channels), np.uint8, endpoint=True)))
    return [_case(name, piece, contract) for name, piece in pieces]


def _case(name: str, image: np.ndarray, contract: IOContract) -> ParityCase:
    size = image.shape[:2]
    return ParityCase(label(name, size), as_batch(image, contract), size != contract.file_size(size))


def off_multiple(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """A size that is padded to `size`, by half of the multiple in both axes; `size` itself where all are taken."""
    height, width = (side - multiple // 2 for side in size)
    return height, width


def label(name: str, size: tuple[int, int]) -> str:
    """A case's name with its size."""
    return f"{name} {size[0]}x{size[1]}"


def fitting(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """The largest size up to `size` and a bound that is a multiple in both axes, at least one multiple."""
    height, width = (max(multiple, min(n, MAX_SIDE) // multiple * multiple) for n in size)
    return height, width


def cut(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The top left corner (H, W, C) of an image, mirrored onward where the image is smaller."""
    missing = [max(0, wanted - have) for wanted, have in zip(size, image.shape[:2], strict=True)]
    padded = np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric") if any(missing) else image
    return padded[: size[0], : size[1]]


def as_batch(image: np.ndarray, contract: IOContract) -> np.ndarray:
    """A uint8 image as a float batch of one in the network's value range."""
    return (image[None] * (contract.value_range / 255)).astype(np.float64)
