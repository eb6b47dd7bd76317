"""Image quality of a network or artifact on pairs of low- and high-resolution images, by the NTIRE protocol.

Beside the protocol's metrics, which crop the border: the PSNR of the border ring alone, and where the float network's
own pictures are given, the error against those (see picture_error).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgesr.errors import ImageError
from edgesr.images import load_rgb
from edgesr.progress import Progress
from edgesr.runtime.metrics import SSIM_WINDOW, modcrop, psnr_db, psnr_y_db, ssim
from edgesr.runtime.picture_error import PictureError, PictureErrors, border_psnr_db, compare_pictures

ImageFunction = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Maps uint8 (H, W, 3) to uint8 (scale*H, scale*W, 3)."""


@dataclass(frozen=True)
class ImageQuality:
    """The metrics of one image; PSNR is infinite where output and HR are equal.

    `border_psnr_db` is that of the border ring alone, against HR; `against_network` compares with the float network.
    Both are None where they were not measured.
    """

    name: str
    psnr_db: float
    psnr_y_db: float
    ssim: float
    border_psnr_db: float | None = None
    against_network: PictureError | None = None


@dataclass(frozen=True)
class QualityReport:
    """What was measured on which images; the means are over images, not over pixels."""

    images: tuple[ImageQuality, ...]
    lr_folder: str
    hr_folder: str
    scale: int
    crop: int

    def __post_init__(self) -> None:
        """Refuse a report on nothing: it would have no means."""
        if not self.images:
            raise ValueError("a quality report needs at least one image")

    @property
    def n(self) -> int:
        """The number of images."""
        return len(self.images)

    @property
    def psnr_db(self) -> float:
        """Mean RGB PSNR in dB."""
        return sum(image.psnr_db for image in self.images) / self.n

    @property
    def psnr_y_db(self) -> float:
        """Mean luma PSNR in dB."""
        return sum(image.psnr_y_db for image in self.images) / self.n

    @property
    def ssim(self) -> float:
        """Mean luma SSIM."""
        return sum(image.ssim for image in self.images) / self.n

    @property
    def border_psnr_db(self) -> float | None:
        """Mean RGB PSNR of the border ring in dB; None where an image's was not measured."""
        measured = [image.border_psnr_db for image in self.images if image.border_psnr_db is not None]
        return sum(measured) / self.n if len(measured) == self.n else None

    @property
    def network_errors(self) -> PictureErrors | None:
        """The errors against the float network; None where an image's was not measured."""
        errors = tuple(image.against_network for image in self.images if image.against_network is not None)
        return PictureErrors(errors) if len(errors) == self.n else None

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON types; an infinite PSNR, which JSON has no number for, is the string "inf"."""
        means: dict[str, object] = {"psnr_db": self.psnr_db, "psnr_y_db": self.psnr_y_db, "ssim": self.ssim}
        means["border_psnr_db"] = self.border_psnr_db
        means["against_network"] = self.network_errors.to_json() if self.network_errors else None
        return {
            "lr_folder": self.lr_folder,
            "hr_folder": self.hr_folder,
            "scale": self.scale,
            "crop": self.crop,
            "n": self.n,
            **_finite(means),
            "images": [_finite(asdict(image)) for image in self.images],
        }


def measure_quality(
    run: ImageFunction,
    pairs: Sequence[tuple[Path, Path]],
    scale: int,
    progress: Progress,
    network: ImageFunction | None = None,
) -> QualityReport:
    """Run every LR image of `pairs` (LR path, HR path) and compare with its HR image, and with what `network` gives.

    The border left out is `scale` pixels, as the challenge does, and none at scale 1. An HR image whose size is no
    multiple of the scale is cropped at the top left. One pair is in memory at a time.

    Raises:
        ImageError: an image cannot be read, is too small to measure, or is no pair of its partner at this scale.
        ValueError: `pairs` is empty, or `run` returned another shape or type.

    """
    crop = scale if scale > 1 else 0
    measured = []
    progress("quality", 0, len(pairs))
    for done, (lr_path, hr_path) in enumerate(pairs, start=1):
        lr, hr = _load_pair(lr_path, hr_path, scale, crop)
        sr = run(lr)
        error = compare_pictures(sr, network(lr), scale, hr) if network is not None else None
        metrics = psnr_db(sr, hr, crop), psnr_y_db(sr, hr, crop), ssim(sr, hr, crop), border_psnr_db(sr, hr, scale)
        measured.append(ImageQuality(lr_path.name, *metrics, error))
        progress("quality", done, len(pairs))
    folders = [" ".join(sorted({str(pair[side].parent) for pair in pairs})) for side in (0, 1)]
    return QualityReport(tuple(measured), folders[0], folders[1], scale, crop)


def _load_pair(lr_path: Path, hr_path: Path, scale: int, crop: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    lr, hr = load_rgb(lr_path), load_rgb(hr_path)
    try:
        hr = modcrop(hr, lr.shape[:2], scale)
    except ValueError as error:
        raise ImageError(f"{lr_path} and {hr_path} do not fit: {error}; pair images of this scale") from None
    needed = SSIM_WINDOW + 2 * crop
    if min(hr.shape[:2]) < needed:
        raise ImageError(f"{hr_path} is too small to measure: {needed}x{needed} pixels are needed; leave it out")
    return lr, hr


def _finite(row: Mapping[str, object]) -> dict[str, object]:
    """Replace infinities by the string "inf", those of nested mappings too."""
    nested = {key: _finite(value) if isinstance(value, Mapping) else value for key, value in row.items()}
    return {key: "inf" if value == math.inf else value for key, value in nested.items()}
