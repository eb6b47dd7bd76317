"""Reading pictures: upright, with transparency, bits, colour profile and EXIF.

What is decoded how is `edgesr.images`' matter, so that the same file gives the same pixels everywhere, but for what a
picture keeps and training images do not: grey stays grey, transparency and 16 bits stay, and so do the profile and EXIF
of JPEG, PNG and WebP. Palettes become colours; CMYK and YCbCr become RGB, and their profiles go.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgesr.errors import ImageError
from edgesr.images import MAX_MEGAPIXELS, open_image
from edgesr.pictures.exif import ORIENTATION, PREFIX, read_orientation, reset_orientation, turn_upright
from edgesr.pictures.picture import GREY, RGB, Metadata, Picture
from edgesr.pictures.png_reader import holds_16_bits, read_png_16

GREY_MODES = ("1", "L", "LA", "La")
UNBOUNDED_MODES = ("I", "F")


def read_picture(source: Path | BinaryIO, max_megapixels: float = MAX_MEGAPIXELS, name: str | None = None) -> Picture:
    """The picture in a file, or in one's bytes that are called `name`; raises `ImageError` as `load_rgb` does."""
    with open_image(source, max_megapixels, name) as image:
        found = _deep(source) if image.format == "PNG" else None
        if found is not None:
            exif = found.metadata.exif
            return _upright(found, exif, 1 if exif is None else read_orientation(exif))
        if image.mode in UNBOUNDED_MODES:
            raise ImageError(f"{name or source} holds 32-bit values of unknown range; export it with 8 or 16 bits")
        image.load()  # metadata may stand behind the pixels
        exif = image.info.get("exif") if image.format != "TIFF" else None
        colour, alpha = _split(image)
        icc = image.info.get("icc_profile") or None
        picture = Picture(colour, alpha, Metadata(icc, exif.removeprefix(PREFIX) if exif else None))
        return _upright(picture, picture.metadata.exif, image.getexif().get(ORIENTATION, 1))


def picture_size(
    source: Path | BinaryIO, max_megapixels: float = MAX_MEGAPIXELS, name: str | None = None
) -> tuple[int, int]:
    """Height and width as they are stored, from the file's head alone; raises as `read_picture`."""
    with open_image(source, max_megapixels, name) as image:
        return image.height, image.width


def _deep(source: Path | BinaryIO) -> Picture | None:
    """A PNG of 16 bits, read here; None for any other."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _deep(file)
    source.seek(0)
    return read_png_16(source) if holds_16_bits(source) else None


def _upright(picture: Picture, exif: bytes | None, orientation: int) -> Picture:
    colour = turn_upright(picture.colour, orientation)
    alpha = None if picture.alpha is None else turn_upright(picture.alpha, orientation)
    metadata = Metadata(picture.metadata.icc, None if exif is None else reset_orientation(exif))
    return Picture(colour, alpha, metadata)


def _split(image: Image.Image) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Colour (H, W, 1 or 3) and alpha of what Pillow decoded."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[:, :, None], None
    channels = GREY if image.mode in GREY_MODES else RGB
    has_alpha = image.has_transparency_data
    mode = ("L" if channels == GREY else "RGB") + ("A" if has_alpha else "")
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    pixels = pixels.reshape(*pixels.shape[:2], channels + has_alpha)
    return pixels[:, :, :channels], pixels[:, :, channels] if has_alpha else None
