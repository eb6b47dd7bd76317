"""Photographs in memory: each HR image beside its LR image, and what a folder held that could not be used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgesr.degradation import crop_to_multiple
from edgesr.errors import ImageError
from edgesr.images import list_images, load_rgb
from edgesr.matlab_bicubic import reduce_as_matlab
from edgesr.model.keys import first_few
from edgesr.progress import Progress, silent

NAMED = 3
"""So many of the files that were left out are named."""


@dataclass(frozen=True, eq=False)
class Pair:
    """One photograph: `hr` is (scale*H, scale*W, 3) and `lr` (H, W, 3), both uint8 RGB; at scale 1 they are one."""

    lr: NDArray[np.uint8]
    hr: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Photographs:
    """All usable photographs of a folder, by name, and the files that were left out: unreadable, or too small."""

    pairs: tuple[Pair, ...]
    folder: Path
    unreadable: tuple[str, ...] = ()
    too_small: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of every pixel, in order: two runs with one digest draw the same crops."""
        found = hashlib.sha256()
        for pair in self.pairs:
            found.update(repr(pair.hr.shape).encode())
            found.update(np.ascontiguousarray(pair.hr).tobytes())
        return found.hexdigest()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out and why, one line a reason."""
        reasons = {"cannot be read": self.unreadable, "are smaller than a crop": self.too_small}
        return tuple(
            f"{len(names)} of {len(self.pairs) + len(self.unreadable) + len(self.too_small)} images in {self.folder} "
            f"{reason} and are left out: {first_few(names, NAMED)}"
            for reason, names in reasons.items()
            if names
        )


def load_photographs(
    folder: Path, scale: int, crop: int, multiple: int = 1, progress: Progress = silent
) -> Photographs:
    """Read every photograph of `folder`, cut to sides that LR multiples of `multiple` give, and reduce it by `scale`.

    An image that cannot be read, or has no room for an LR crop of `crop` pixels, is left out and counted.

    Raises:
        ImageError: the folder is missing or holds no image, or every image was left out.

    """
    paths = list_images(folder)
    pairs: list[Pair] = []
    unreadable: list[str] = []
    too_small: list[str] = []
    for done, path in enumerate(paths):
        progress("reading photographs", done, len(paths))
        try:
            hr = crop_to_multiple(load_rgb(path), scale * multiple)
        except ImageError:
            unreadable.append(path.name)
            continue
        if min(hr.shape[:2]) < crop * scale:
            too_small.append(path.name)
        else:
            pairs.append(Pair(reduce_as_matlab(hr, scale) if scale > 1 else hr, hr))
    progress("reading photographs", len(paths), len(paths))
    if not pairs:
        raise _nothing_left(folder, crop * scale, len(unreadable), len(too_small))
    return Photographs(tuple(pairs), folder, tuple(unreadable), tuple(too_small))


def _nothing_left(folder: Path, side: int, unreadable: int, too_small: int) -> ImageError:
    return ImageError(
        f"{folder}: no image can be used ({unreadable} cannot be read, {too_small} are smaller than a crop of "
        f"{side}x{side}); give larger photographs, or a smaller crop"
    )
