"""Images in and out of the toolchain: every picture is a uint8 array of shape (H, W, 3), RGB, values 0..255.

What reading does, so that an artifact, the reference network and a metric all see the same pixels:

- EXIF orientation is applied; colour profiles are ignored, as training code does.
- Greyscale is repeated to three channels; palette, CMYK and YCbCr go through Pillow's plain conversion.
- Alpha is dropped, not composited: the stored colour counts, as in the field's training and evaluation code.
- 16-bit greyscale is scaled by round(v / 257). Pillow reads 16-bit colour or alpha as the high byte, floor(v / 256),
  which is the same for pictures widened from 8 bits and at most one level off for others.
- Of a file with several frames, the first.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edgesr.atomic import write_atomically
from edgesr.errors import EdgeSRError, ExportError, ImageError

MAX_MEGAPIXELS = 100.0
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
FORMAT_NAMES = "PNG, JPEG, WebP, BMP or TIFF"
_ROLE_SUFFIX = re.compile(r"(?<=.)(?:[_-]?x[2348]|[_-](?:LR|HR|GT))+$", re.IGNORECASE)


Image8 = NDArray[np.uint8]
"""A picture: (H, W, 3) RGB, 0..255."""


def load_rgb(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Read an image file as uint8 (H, W, 3) RGB; the module's docstring says what becomes of other kinds.

    Raises:
        ImageError: `path` is missing, no file, no image, unreadable, damaged, of unbounded values (32-bit), or larger
            than `max_megapixels` (Pillow's own limit of 178 stands above it).

    """
    with open_image(path, max_megapixels) as image:
        return _to_rgb(ImageOps.exif_transpose(image), path)


@contextmanager
def open_image(
    source: Path | BinaryIO, max_megapixels: float = MAX_MEGAPIXELS, name: str | None = None
) -> Iterator[Image.Image]:
    """An image file, or one's bytes called `name`, open in Pillow; its size is known, its pixels are not decoded yet.

    What Pillow raises within the block is an `ImageError`, as `load_rgb` raises it; other `EdgeSRError`s pass.
    """
    if isinstance(source, Path):
        _require_file(source)
    path = name or source
    too_large = f"over the limit of {max_megapixels:g} megapixels; crop or downscale it"
    try:
        # Pillow warns about large images, which is judged here, and about odd metadata, which no pixel depends on
        with warnings.catch_warnings(action="ignore"), Image.open(source, formats=_FORMATS) as image:
            if image.width * image.height > max_megapixels * 1e6:
                raise ImageError(f"{path} is {image.width}x{image.height}, {too_large}")
            yield image
    except EdgeSRError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not an image in a known format; give {FORMAT_NAMES}") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path} is {too_large}") from None
    except PermissionError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"cannot decode {path}: {reason}; copy or export it again") from error


def save_png(path: Path, array: NDArray[np.uint8]) -> None:
    """Write a uint8 (H, W, 3) RGB array as a PNG file, whole or not at all; parent folders are created.

    Raises:
        ExportError: `path` does not end in .png, or cannot be written.
        ValueError: the array is not uint8 (H, W, 3) with at least one pixel.

    """
    if path.suffix.lower() != ".png":
        raise ExportError(f"cannot write {path}: images are written as PNG; give a name that ends in .png")
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(f"an image is uint8 (H, W, 3), not {array.dtype} {array.shape}")
    with write_atomically(path) as temporary:
        encoded = io.BytesIO()  # where Pillow writes to a file itself, it takes a short write for a whole one
        Image.fromarray(array).save(encoded, format="PNG")
        temporary.write_bytes(encoded.getvalue())


def list_images(folder: Path) -> list[Path]:
    """Return the image files directly in `folder`, by suffix, sorted by name; hidden files are left out.

    Raises:
        ImageError: `folder` is missing, no folder, unreadable, or holds no images.

    """
    try:
        images = sorted(entry for entry in folder.iterdir() if _is_image_name(entry) and entry.is_file())
    except FileNotFoundError:
        raise ImageError(f"image folder not found: {folder}; check the name") from None
    except NotADirectoryError:
        raise ImageError(f"{folder} is a file, not a folder of images; give its folder") from None
    except OSError as error:
        raise ImageError(f"cannot list {folder}: {error.strerror}; check its permissions") from error
    if not images:
        raise ImageError(f"no images in {folder}; put {FORMAT_NAMES} files directly into it")
    return images


def pair_folders(lr: Path, hr: Path) -> list[tuple[Path, Path]]:
    """Pair the images of two folders by name, sorted; `0801x4.png` and `0801_LR.png` both belong to `0801.png`.

    A name is its stem without the suffixes x2, x3, x4, x8, _LR, _HR, _GT (any case).

    Raises:
        ImageError: an image on either side has no partner, two on one side share a name, or `list_images` refuses.

    """
    low, high = _by_name(lr), _by_name(hr)
    for ours, theirs, other in ((low, high, hr), (high, low, lr)):
        alone = [path.name for name, path in ours.items() if name not in theirs]
        if alone:
            more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
            raise ImageError(f"no partner in {other} for {', '.join(alone[:3])}{more}; add or remove them")
    return [(low[name], high[name]) for name in sorted(low)]


def _require_file(path: Path) -> None:
    """Refuse what is no regular file, before Pillow would block on a pipe or fail in its own words."""
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder, not an image; give a file")
        if not path.exists():
            raise ImageError(f"image not found: {path}; check the name")
        if not path.is_file():
            raise ImageError(f"{path} is not a regular file; give an image file")
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}; check its permissions") from error


def _to_rgb(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    if image.mode in ("I", "F"):
        raise ImageError(f"{path} holds 32-bit values of unknown range; export it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257  # 257 is odd, so this is round(v / 257) without ties
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _by_name(folder: Path) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in list_images(folder):
        name = _ROLE_SUFFIX.sub("", path.stem)
        if name in named:
            raise ImageError(f"{folder} holds {named[name].name} and {path.name} for one name; remove one of them")
        named[name] = path
    return named
