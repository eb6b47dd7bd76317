"""How long work reports itself: a callable that takes a stage's name, the steps done and the steps in all."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on; `done` runs from 0 to `total` within one `stage`."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that `done` of `total` steps of `stage` are finished."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""
