"""The formats that pictures are written in: one literal table of what each holds.

PNG is written row by row and has no limit of its own. The others are put together in memory before their encoder sees
them: `assembled_megapixels` is what that may take, 4 bytes a pixel in Pillow and what the encoder adds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PictureFormat:
    """A format by Pillow's name: its suffixes, the longest side it can say, and what it keeps."""

    name: str
    suffixes: tuple[str, ...]
    longest_side: int
    assembled_megapixels: float = math.inf
    holds_alpha: bool = True
    holds_16_bits: bool = False

    @property
    def suffix(self) -> str:
        """What names in this format end in."""
        return self.suffixes[0]

    @property
    def by_rows(self) -> bool:
        """Whether it is written row by row."""
        return math.isinf(self.assembled_megapixels)

    def refusal(self, size: tuple[int, int], has_alpha: bool) -> str | None:
        """Why a picture of `size` (H, W) is not written in this format, and what to do; None where it is."""
        named = f"{size[1]}x{size[0]}"
        advice = f"name it {PNG.suffix}, which is written row by row"
        if max(size) > self.longest_side:
            return f"{self.name} holds at most {self.longest_side} pixels to a side, not {named}; {advice}"
        if size[0] * size[1] > self.assembled_megapixels * 1e6:
            most = f"{self.assembled_megapixels:g} megapixels"
            return f"{named} is more than the {most} that are put together in memory for {self.name}; {advice}"
        if has_alpha and not self.holds_alpha:
            return f"{self.name} holds no transparency, which the picture has; name it {PNG.suffix} or .webp"
        return None


PNG = PictureFormat("PNG", (".png",), 2**31 - 1, holds_16_bits=True)
PICTURE_FORMATS = (
    PNG,
    PictureFormat("JPEG", (".jpg", ".jpeg"), 65500, assembled_megapixels=200, holds_alpha=False),
    PictureFormat("WEBP", (".webp",), 16383, assembled_megapixels=64),
    PictureFormat("BMP", (".bmp",), 2**31 - 1, assembled_megapixels=200),
)


def format_of(path: Path) -> PictureFormat | None:
    """The format that a file's name says; None for any other."""
    return next((kind for kind in PICTURE_FORMATS if path.suffix.lower() in kind.suffixes), None)


def find_format(name: str) -> PictureFormat | None:
    """The format of that name, in any case."""
    return next((kind for kind in PICTURE_FORMATS if kind.name == name.upper()), None)
