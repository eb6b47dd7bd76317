"""One line of a comparison: what two artifacts have, how far that is apart, and whether it matters.

What matters is decided by a rule that stands in the row. Facts that an app's code or a converter's choice depends on
(contract, precision, operators, NPUs) matter whenever they differ. Numbers have thresholds:

- `SHARE`, 2 %: file size, MACs and parameters. They are exact; this is the smallest change that a latency beside a
  yardstick is ever called for (ADR 0011), and nobody chooses between files for less.
- `PSNR_DB`, 0.02 dB of a picture's PSNR: as far as two runs of one INT8 network may lie apart (docs/numerics.md). A
  PSNR to a network, or of two outputs to each other, is turned into what a picture of 30 dB loses by it.
- `SSIM`, 0.001: what is left of it when it is printed with three decimals.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

SHARE = 0.02
PSNR_DB = 0.02
SSIM = 0.001
NOTHING = "-"


class Verdict(enum.Enum):
    """What a difference is worth."""

    EQUAL = "equal"
    SMALL = "differs"
    MATTERS = "matters"


@dataclass(frozen=True)
class CompareRow:
    """One line. `first` and `second` are plain values for machines, None where there is none; `shown` is for people."""

    subject: str
    what: str
    first: object
    second: object
    shown: tuple[str, str]
    change: str
    verdict: Verdict
    rule: str

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "subject": self.subject,
            "what": self.what,
            "first": self.first,
            "second": self.second,
            "change": self.change,
            "verdict": self.verdict.value,
            "rule": self.rule,
        }


def fact(subject: str, what: str, first: object, second: object) -> CompareRow:
    """Something that matters whenever it differs."""
    verdict = Verdict.EQUAL if first == second else Verdict.MATTERS
    return CompareRow(
        subject, what, first, second, (_shown(first), _shown(second)), "", verdict, "matters where it differs"
    )


def exact_number(subject: str, what: str, first: float | None, second: float | None, unit: str = "") -> CompareRow:
    """A number without noise, which matters from a change of `SHARE` on."""
    change, verdict = "", Verdict.EQUAL
    if first != second:
        ratio = second / first if first and second is not None else math.inf
        change = "" if math.isinf(ratio) else f"{ratio - 1:+.1%}"
        verdict = Verdict.SMALL if abs(ratio - 1) < SHARE else Verdict.MATTERS
    shown = tuple(NOTHING if value is None else f"{value:,.10g} {unit}".rstrip() for value in (first, second))
    return CompareRow(
        subject, what, first, second, (shown[0], shown[1]), change, verdict, f"matters from {SHARE:.0%} on"
    )


def measured(
    subject: str, what: str, pair: tuple[float, float], threshold: float, decimals: int, note: str = "",
    seen: bool = True,
) -> CompareRow:  # fmt: skip
    """A measured number, which matters from a difference of `threshold` on, where that is `seen` above its noise."""
    first, second = pair
    difference = 0.0 if first == second else second - first
    verdict = Verdict.EQUAL if not difference else Verdict.SMALL
    if abs(difference) >= threshold and seen:
        verdict = Verdict.MATTERS
    change = f"{difference:+.{decimals}f}" + (f" ({note})" if note else "")
    return CompareRow(
        subject, what, finite(first), finite(second), (f"{first:.{decimals}f}", f"{second:.{decimals}f}"), change,
        verdict, f"matters from {threshold:g} on",
    )  # fmt: skip


def finite(value: float) -> float | str:
    """A number as JSON has it."""
    return value if math.isfinite(value) else str(value)


def _shown(value: object) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
