"""Random aligned crops: each depends on the seed, the step and its index in the batch, and on nothing else.

So a resumed run sees the crops that an uninterrupted one would have seen, and several processes share a batch by
indices. Photographs are drawn with equal probability, places too; each crop is turned by one of the eight symmetries of
the square. At scale 1 the LR crop is the HR crop with white Gaussian noise, rounded and clipped to uint8, as a phone's
images are.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesr.model.training.config import NoiseConfig
from edgesr.model.training.photographs import Pair

AHEAD = 2
"""Batches in preparation for each loading thread."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Crops as uint8: `lr` (N, 3, crop, crop) and `hr` (N, 3, scale*crop, scale*crop)."""

    lr: Tensor
    hr: Tensor

    @property
    def checksum(self) -> str:
        """CRC-32 of all bytes: the log tells by it which crops a step saw."""
        return f"{zlib.crc32(self.hr.numpy().data, zlib.crc32(self.lr.numpy().data)):08x}"


@dataclass(frozen=True, eq=False)
class CropSource:
    """Where crops come from."""

    pairs: tuple[Pair, ...]
    scale: int
    seed: int
    noise: NoiseConfig | None = None

    def batch(self, step: int, indices: range, crop: int) -> Batch:
        """The crops of these indices of the batch of `step`; `crop` is the side of an LR crop in pixels."""
        crops = [self._crop(np.random.default_rng((self.seed, step, index)), crop) for index in indices]
        return Batch(_stack([lr for lr, _ in crops]), _stack([hr for _, hr in crops]))

    def _crop(self, generator: np.random.Generator, crop: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """One aligned pair of crops, both turned the same way."""
        pair = self.pairs[generator.integers(len(self.pairs))]
        top = int(generator.integers(pair.lr.shape[0] - crop + 1))
        left = int(generator.integers(pair.lr.shape[1] - crop + 1))
        quarter_turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
        lr = _turn(_cut(pair.lr, top, left, crop), quarter_turns, mirrored)
        hr = _turn(_cut(pair.hr, top * self.scale, left * self.scale, crop * self.scale), quarter_turns, mirrored)
        return lr if self.noise is None else add_noise(lr, self.noise, generator), hr


def add_noise(image: NDArray[np.uint8], noise: NoiseConfig, generator: np.random.Generator) -> NDArray[np.uint8]:
    """The image with white Gaussian noise of one standard deviation drawn evenly from the range."""
    deviation = generator.uniform(noise.low, noise.high)
    noisy = image + deviation * generator.standard_normal(image.shape)
    return np.rint(noisy).clip(0, 255).astype(np.uint8)


def batches_ahead(
    source: CropSource, steps: range, indices: range, crop: int, threads: int, pin: bool = False
) -> Generator[Batch, None, None]:
    """The batches of these steps in order, made ahead of time by threads; the order does not depend on their number."""
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Batch]] = deque()
    try:
        for step in steps:
            waiting.append(pool.submit(_prepare, source, step, indices, crop, pin))
            if len(waiting) >= AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(source: CropSource, step: int, indices: range, crop: int, pin: bool) -> Batch:
    batch = source.batch(step, indices, crop)
    return Batch(batch.lr.pin_memory(), batch.hr.pin_memory()) if pin else batch


def _cut(image: NDArray[np.uint8], top: int, left: int, side: int) -> NDArray[np.uint8]:
    return image[top : top + side, left : left + side]


def _turn(image: NDArray[np.uint8], quarter_turns: int, mirrored: bool) -> NDArray[np.uint8]:
    """Rotate (H, W, 3) by quarter turns, then mirror it."""
    turned = np.rot90(image, quarter_turns)
    return turned[:, ::-1] if mirrored else turned


def _stack(images: list[NDArray[np.uint8]]) -> Tensor:
    """(H, W, 3) images as one (N, 3, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))
