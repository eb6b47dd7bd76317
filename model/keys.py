"""Comparing a checkpoint's keys and shapes with what a network expects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from edgesr.errors import CheckpointError

SHOWN_KEYS = 4


def first_few(items: Iterable[str], shown: int = SHOWN_KEYS) -> str:
    """Join the first `shown` items with commas and count the others: 'a, b and 7 more'."""
    listed = list(items)
    text = ", ".join(listed[:shown])
    return f"{text} and {len(listed) - shown} more" if len(listed) > shown else text


def require_shapes(architecture: str, state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError, naming every missing, unexpected and misshapen key, unless `state` is as `expected`."""
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshapen = [
        f"{key} {tuple(state[key].shape)} instead of {shape}"
        for key, shape in expected.items()
        if key in state and tuple(state[key].shape) != shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    problems = [f"{len(keys)} {problem} ({first_few(keys)})" for problem, keys in found.items() if keys]
    if problems:
        raise CheckpointError(
            f"not a {architecture} checkpoint: keys {', '.join(problems)}; use weights saved from this architecture"
        )
