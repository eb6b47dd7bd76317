"""The calibration pictures that ship with edgesr, for exports where the user names no folder of their own.

They are 36 low-resolution crops of 120x80 pixels from photographs that are free to ship: night and bright sky, skin,
fur, foliage, stars, architecture, lettering, saturated colours. `calibration_images/PROVENANCE.md` names the author,
licence and recipe of each. None is of Set5, Set14 or BSD100, nor is the demo photograph among them.
"""

from __future__ import annotations

from pathlib import Path

from edgesr.images import list_images

_FOLDER = Path(__file__).parent / "calibration_images"


def builtin_calibration_paths() -> list[Path]:
    """Return the shipped calibration images, sorted by name.

    Raises:
        ImageError: the installation lacks them.

    """
    return list_images(_FOLDER)
