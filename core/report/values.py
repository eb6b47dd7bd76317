"""Plain values of JSON as people read them, with their units; JSON has no infinity, which is the text "inf" there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

NONE = "\N{EN DASH}"
"""Stands where there is no value."""

Plain = Mapping[str, Any]
"""A JSON object."""


def number(value: object) -> float | None:
    """A number of JSON, "inf" and "nan" included; None for nothing."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str) and value in ("inf", "-inf", "nan"):
        return float(value)
    raise TypeError(f"{value!r:.40} is no number")


def decibels(value: object, digits: int = 2) -> str:
    """A level in dB without its unit."""
    found = number(value)
    if found is None:
        return NONE
    return f"{found:.{digits}f}" if math.isfinite(found) else "equal" if found > 0 else NONE


def signed_decibels(value: object) -> str:
    """A difference in dB, with its sign."""
    found = number(value)
    return NONE if found is None else f"{round(found, 3) + 0.0:+.3f}"


def scientific(value: object) -> str:
    """A small number, like 6.0e-07."""
    found = number(value)
    return NONE if found is None else f"{found:.1e}"


def share(value: object) -> str:
    """A share of 0..1 in per cent."""
    found = number(value)
    if found is None:
        return NONE
    return "0 %" if found == 0 else f"{100 * found:.2g} %"


def size(value: object) -> str:
    """A number of bytes."""
    found = number(value)
    if found is None:
        return NONE
    return f"{found / 1e6:.1f} MB" if found >= 1e6 else f"{found / 1e3:.0f} KB" if found >= 1e3 else f"{found:.0f} B"


def milliseconds(value: object) -> str:
    """A time in ms without its unit, to about three digits."""
    found = number(value)
    if found is None:
        return NONE
    return f"{found:,.{2 if found < 100 else 1 if found < 1000 else 0}f}"


def integer(value: object) -> str:
    """A whole number with separators."""
    found = number(value)
    return NONE if found is None else f"{found:,.0f}"


def count(n: int, noun: str) -> str:
    """A number of things: 1 file, 2 files."""
    return f"{n} {noun}" if n == 1 else f"{n:,} {noun}s"


def image_size(value: Sequence[int]) -> str:
    """HxW."""
    return "x".join(str(side) for side in value)


def entry(plain: object, *names: str) -> Any:
    """A value deep inside of plain values, None where a part of the way is missing."""
    for name in names:
        if not isinstance(plain, Mapping):
            return None
        plain = plain.get(name)
    return plain


def moment(value: object) -> str:
    """A time in ISO 8601 and UTC, to the minute."""
    text = str(value)
    return f"{text[:10]} {text[11:16]} UTC" if len(text) >= 16 and text.endswith(("+00:00", "Z")) else text
