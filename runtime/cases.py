"""The images that parity is checked on: natural ones whole and cut to odd sizes, noise, and a single pixel.

Noise comes at half contrast, and at full contrast: there a network trained on photographs may amplify rounding without
bound (official SPANV2 answers some full-contrast noise with values of -68), which the yardstick in `parity` allows for.
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
    """A named image (1, H, W, C), its values k/255 of the value range."""

    name: str
    image: np.ndarray

    @property
    def natural(self) -> bool:
        """Whether the image is one, or a piece of one, that a camera took."""
        return self.name.startswith(NATURAL)


def parity_cases(contract: IOContract, images: Sequence[np.ndarray], seed: int = 0) -> list[ParityCase]:
    """Cases that the contract accepts, from natural uint8 images (H, W, C).

    An artifact of fixed size gets natural images and noise of that size alone.
    """
    generator = np.random.default_rng(seed)
    natural = list(images[:NATURAL_IMAGES])
    if contract.any_size:
        wanted = [(NATURAL, image, fitting(image.shape[:2], contract.size_multiple)) for image in natural]
        wanted.append((f"{NATURAL} odd", natural[0], fitting(ODD_SIZE, contract.size_multiple)))
        noise_sizes = [fitting((1, 1), contract.size_multiple), fitting(NOISE_SIZE, contract.size_multiple)]
    else:
        wanted = [(NATURAL, image, size) for size in contract.sizes for image in natural]
        noise_sizes = list(contract.sizes)
    cases = [ParityCase(label(name, size), as_batch(cut(image, size), contract)) for name, image, size in wanted]
    for name, (low, high) in NOISE_LEVELS.items():
        for size in noise_sizes:
            noise = generator.integers(low, high, (*size, contract.channels), dtype=np.uint8, endpoint=True)
            cases.append(ParityCase(label(name, size), as_batch(noise, contract)))
    return cases


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
