"""Numbers that JSON has none for, as every document of edgesr writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping


def finite(value: object) -> object:
    """Plain values with infinite and undefined numbers as text: "inf", "-inf" and "nan"."""
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
