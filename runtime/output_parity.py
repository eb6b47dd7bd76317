"""Whether two outputs are the same: what a timed run gave beside what it should have given.

Cheap, so that every benchmark can afford it: one pass over both arrays. `equal` is about bytes (-0.0 is not 0.0, and a
value that is no number equals only itself, bit for bit); differences are about values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgesr.errors import ArtifactError
from edgesr.runtime.json_fields import Fields

LSB = "LSB"


@dataclass(frozen=True)
class OutputParity:
    """An output compared with a reference.

    `max_difference` is in the output's own unit: `unit` is "LSB" for integers and "" for float; infinite where a value
    that is no number stands against another. `psnr_db` is None for equal outputs (it would be infinite), and where no
    peak is known.
    """

    reference: str
    compared_values: int
    compared_bytes: int
    equal: bool
    changed_share: float
    max_difference: float
    unit: str
    psnr_db: float | None

    def __post_init__(self) -> None:
        """Refuse what no comparison gives."""
        if self.compared_values < 1 or self.compared_bytes < self.compared_values:
            raise ValueError(f"{self.compared_values} values of {self.compared_bytes} bytes were compared: none")
        if not 0 <= self.changed_share <= 1 or not self.max_difference >= 0:
            raise ValueError(f"a share of {self.changed_share} values differs by up to {self.max_difference}")
        if self.equal != (self.changed_share == 0) or (self.equal and self.max_difference):
            raise ValueError("outputs are equal where no value differs, and only there")

    def to_json(self) -> dict[str, object]:
        """Plain values; an infinite difference is null."""
        return {
            "reference": self.reference,
            "compared_values": self.compared_values,
            "compared_bytes": self.compared_bytes,
            "equal": self.equal,
            "changed_share": self.changed_share,
            "max_difference": self.max_difference if math.isfinite(self.max_difference) else None,
            "unit": self.unit,
            "psnr_db": self.psnr_db,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> OutputParity:
        """What `to_json` wrote; raises `FieldError`."""
        largest = fields.optional_number("max_difference")
        return cls(
            fields.text("reference"), fields.integer("compared_values", 1), fields.integer("compared_bytes", 1),
            fields.flag("equal"), fields.number("changed_share"), math.inf if largest is None else largest,
            fields.text("unit"), fields.optional_number("psnr_db"),
        )  # fmt: skip


def compare_outputs(got: np.ndarray, wanted: np.ndarray, reference: str, peak: float | None = None) -> OutputParity:
    """Compare two arrays of one type and shape; `reference` says in words what `wanted` is.

    `peak` is what PSNR counts from: by default all levels of an integer type, and none for float. Raises
    `ArtifactError` where type or shape differ, or nothing is there.
    """
    if got.dtype != wanted.dtype or got.shape != wanted.shape or not got.size:
        raise ArtifactError(
            f"an output of {got.dtype} {got.shape} cannot be compared with {reference}, {wanted.dtype} {wanted.shape}; "
            "run both on the same file and size"
        )
    changed = _bits(got) != _bits(wanted)
    count = int(np.count_nonzero(changed))
    differences = _differences(got, wanted, changed)
    integers = np.issubdtype(got.dtype, np.integer)
    return OutputParity(
        reference, got.size, got.nbytes, not count, count / got.size, float(differences.max(initial=0.0)),
        LSB if integers else "", _psnr_db(differences, got.size, _levels(got.dtype) if integers else peak),
    )  # fmt: skip


def _bits(array: np.ndarray) -> np.ndarray:
    """Each value's bytes as an unsigned integer."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def _differences(got: np.ndarray, wanted: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """Absolute differences of the values whose bytes differ; infinite where either is no number."""
    with np.errstate(invalid="ignore"):  # inf - inf is no number, and caught below
        found = np.abs(got[changed].astype(np.float64) - wanted[changed].astype(np.float64))
    return np.where(np.isnan(found), np.inf, found)


def _levels(dtype: np.dtype) -> float:
    limits = np.iinfo(dtype)
    return float(limits.max) - float(limits.min)


def _psnr_db(differences: np.ndarray, size: int, peak: float | None) -> float | None:
    """PSNR in dB, at least 0; None where it would be infinite, or no peak is known."""
    error = float(np.sum(np.square(differences))) / size
    if peak is None or not error:
        return None
    return max(0.0, 10 * math.log10(peak**2 / error)) if math.isfinite(error) else 0.0
