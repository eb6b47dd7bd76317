"""One file of a kit: what a loader must know of it, as constants in C++ and Kotlin.

A name that is no identifier in those languages becomes one: letters, digits and underscores, in capitals, and a letter
first. Text is written as a literal in which nothing of the languages' own is left to act.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from edgesr.artifact import IMAGE_LEVELS, INT8_ZERO, IOContract
from edgesr.target import IODtype, Layout

Size = tuple[int, int]


@dataclass(frozen=True)
class KitModel:
    """A TFLite file with its contract.

    `reach` counts the input pixels (above, below, left, right) that an output pixel depends on, and `tile` is the
    default tile (H, W) of a file for any size. Where there is no `reach`, the file's output cannot be made of tiles:
    `why_whole` says why.
    """

    file: str
    sha256: str
    size_bytes: int
    contract: IOContract
    reach: tuple[int, int, int, int] | None
    tile: Size | None
    why_whole: str | None = None

    def __post_init__(self) -> None:
        """Refuse what the loaders do not read."""
        if self.contract.layout is not Layout.NHWC or not self.contract.sizes:
            raise ValueError(f"{self.file}: the loaders read NHWC files that name their sizes")
        if (self.reach is None) is (self.why_whole is None) or (self.tile is not None and self.reach is None):
            raise ValueError(f"{self.file}: it has a reach, or a reason why not")

    @property
    def identifier(self) -> str:
        """What the constant is called in either language."""
        name = re.sub(r"[^A-Za-z0-9]+", "_", Path(self.file).stem).strip("_").upper()
        return name if name[:1].isalpha() else f"MODEL_{name}".rstrip("_")

    @property
    def scale(self) -> float:
        """The step of an integer image as the file holds it, in float32; 0 for float images."""
        if self.contract.dtype is IODtype.FLOAT32:
            return 0.0
        return float(np.float32(self.contract.value_range / IMAGE_LEVELS))

    @property
    def zero_point(self) -> int:
        """Which integer stands for 0."""
        return -INT8_ZERO if self.contract.dtype is IODtype.INT8 else 0


def fill(template: str, values: Mapping[str, object]) -> str:
    """The template with each @NAME@ replaced; raises KeyError for a name without a value."""
    return re.sub(r"@([A-Z0-9_]+)@", lambda found: str(values[found[1]]), template)


def cpp_values(model: KitModel, name: str) -> dict[str, object]:
    """What contract.h.in takes."""
    return _values(model, name) | {
        "FILE_LITERAL": _literal(model.file),
        "DTYPE": f"k{model.contract.dtype.value.capitalize()}",
        "SIZES": ", ".join(f"{{{height}, {width}}}" for height, width in model.contract.sizes),
        "SIZE_COUNT": len(model.contract.sizes),
        "TILES": _boolean(model.reach is not None),
        "REACH": ", ".join(map(str, model.reach or (0, 0, 0, 0))),
        "TILE": ", ".join(map(str, model.tile or (0, 0))),
    }


def kotlin_values(model: KitModel, name: str) -> dict[str, object]:
    """What Contract.kt.in takes."""
    return _values(model, name) | {
        "FILE_LITERAL": _literal(model.file).replace("$", r"\$"),
        "DTYPE": model.contract.dtype.value.upper(),
        "SIZES": ", ".join(f"Size({height}, {width})" for height, width in model.contract.sizes),
        "REACH": "null" if model.reach is None else f"Reach({', '.join(map(str, model.reach))})",
        "TILE": "null" if model.tile is None else f"Size({', '.join(map(str, model.tile))})",
    }


def _values(model: KitModel, name: str) -> dict[str, object]:
    contract = model.contract
    return {
        "FILE": printable(model.file),
        "NAME": name,
        "VERSION": version("edgesr"),
        "SHA256": model.sha256,
        "SIZE_BYTES": model.size_bytes,
        "SCALE": repr(model.scale),
        "ZERO_POINT": model.zero_point,
        "VALUE_RANGE": repr(float(contract.value_range)),
        "CHANNELS": contract.channels,
        "UPSCALE": contract.upscale,
        "SIZE_MULTIPLE": contract.size_multiple,
        "HOST_SHUFFLE": contract.host_shuffle,
        "ANY_SIZE": _boolean(contract.any_size),
    }


def _literal(text: str) -> str:
    """A string literal of both languages; control characters, which no file's name should have, become '?'."""
    return '"' + printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def printable(text: str) -> str:
    """The text on one line."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _boolean(value: bool) -> str:
    return "true" if value else "false"
