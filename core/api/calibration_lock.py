"""Which calibration images shaped a file: the sha256 of each file that was read, in the order of reading.

Only those that are read count, at most 64 spread evenly over a folder, and 400 for efforts that learn and for budgets.
The folder's path is a hint, and so are the names: the same bytes in the same order give the same ranges.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesr.errors import ImageError
from edgesr.images import list_images
from edgesr.model.keys import first_few
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.quant.images import MAX_IMAGES, spread
from edgesr.quant.photographs import MAX_PHOTOGRAPHS

SHOWN = 3


@dataclass(frozen=True)
class CalibrationLock:
    """The images of a folder, None for the builtin set: their sha256 by file name, in the order of reading."""

    folder: str | None
    images: Mapping[str, str]

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"folder": self.folder, "images": dict(self.images)}

    @classmethod
    def from_json(cls, plain: Mapping[str, object]) -> CalibrationLock:
        """What `to_json` wrote; raises `TypeError` or `KeyError` for anything else."""
        folder, images = plain["folder"], plain["images"]
        if not isinstance(images, dict) or not all(isinstance(value, str) for value in images.values()):
            raise TypeError("the calibration images are no table of sha256")
        if folder is not None and not isinstance(folder, str):
            raise TypeError(f"the calibration folder is {folder!r:.40}")
        return cls(folder, images)

    def why_not(self, other: CalibrationLock) -> str | None:
        """What is different in other images; None where they are the same bytes in the same order."""
        ours, theirs = list(self.images.values()), list(other.images.values())
        if ours == theirs:
            return None
        changed = [name for name, digest in other.images.items() if name in self.images and digest != self.images[name]]
        missing = [name for name in self.images if name not in other.images]
        added = [name for name in other.images if name not in self.images]
        found = {"changed": changed, "missing": missing, "new": added}
        said = [f"{first_few(names, SHOWN)} {what}" for what, names in found.items() if names]
        return ", ".join(said) or "the same images in another order"


def lock_calibration(folder: Path | None, with_photographs: bool) -> CalibrationLock:
    """The images that an export with this folder reads, hashed; raises `ImageError` where one cannot be read."""
    paths = builtin_calibration_paths() if folder is None else list_images(folder)
    chosen = {*spread(paths, MAX_IMAGES), *(spread(paths, MAX_PHOTOGRAPHS) if with_photographs else ())}
    return CalibrationLock(None if folder is None else str(folder), {p.name: _digest(p) for p in paths if p in chosen})


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error
