"""Writing pictures row by row: a PNG as its rows come, other formats once the last one is there."""

from __future__ import annotations

from typing import IO, Any, BinaryIO, Protocol, cast

import numpy as np
from PIL import Image

from edgesr.pictures.exif import PREFIX
from edgesr.pictures.formats import PictureFormat
from edgesr.pictures.picture import GREY, OutputShape, Pixels
from edgesr.pictures.png_writer import PngWriter

DEFAULT_QUALITY = 95


class RowWriter(Protocol):
    """Takes a picture's rows from the top."""

    def write(self, rows: Pixels) -> None:
        """Add rows (N, W, samples), alpha last."""

    def close(self) -> None:
        """Finish the file; raises ValueError where rows are missing."""


def open_writer(file: BinaryIO, kind: PictureFormat, shape: OutputShape, quality: int = DEFAULT_QUALITY) -> RowWriter:
    """A writer of one picture that its format does not refuse; `quality` is that of JPEG and WebP."""
    return PngWriter(file, shape) if kind.by_rows else _AssembledWriter(file, kind, shape, quality)


class _Sink:
    """A file of which Pillow sees no number: it would write there in C, and take a short write for a whole one."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write
        self.flush = file.flush


class _AssembledWriter:
    """Puts the rows together in a Pillow image, and encodes it at the end."""

    def __init__(self, file: BinaryIO, kind: PictureFormat, shape: OutputShape, quality: int) -> None:
        self._file, self._kind, self._shape, self._quality = file, kind, shape, quality
        mode = ("L" if shape.channels == GREY else "RGB") + ("A" if shape.has_alpha else "")
        self._image = Image.new(mode, (shape.size[1], shape.size[0]))
        self._rows = 0

    def write(self, rows: Pixels) -> None:
        """Add rows."""
        part = rows[:, :, 0] if self._shape.samples == 1 else rows
        self._image.paste(Image.fromarray(np.ascontiguousarray(part)), (0, self._rows))
        self._rows += len(rows)

    def close(self) -> None:
        """Encode the picture."""
        if self._rows != self._shape.size[0]:
            raise ValueError(f"{self._rows} rows of {self._shape.size[0]} were written")
        self._image.save(cast(IO[bytes], _Sink(self._file)), self._kind.name, **self._options())

    def _options(self) -> dict[str, Any]:
        metadata = self._shape.metadata
        options: dict[str, Any] = {"quality": self._quality}
        if metadata.icc is not None:
            options["icc_profile"] = metadata.icc
        if metadata.exif is not None:
            options["exif"] = PREFIX + metadata.exif
        return options | ({"subsampling": "4:4:4"} if self._kind.name == "JPEG" else {})
